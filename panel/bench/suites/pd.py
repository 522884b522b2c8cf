"""`pdpanel bench pd`: one prefill and one decode worker against two unified workers behind the same router and cores.

The unified pair comes in two kinds, prompts first and mixed steps. First what each serves at most, then the same
requests at the same times for all three, at shares of what the pair with prompts first serves.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from ....engine.errors import PeerError
from ...load.result import LoadResult
from ...runs import Runs
from ..comparison import Comparison, interleave
from ..small_model import write_small_model
from ..suite import SuiteOptions
from .pd_deployments import Target, deployments_of, targets
from .pd_gap import gap_figures
from .pd_load import Asked, alone, at_rate, saturation
from .pd_plan import GOALS, HALF, OURS, PREFILL_FIRST, SATURATION_GOALS, Case, PdPlan, plan_of, seed_of

__all__ = ["measure"]

Tell = Callable[[str], None]
# Loads that are no share of the saturation, for seeds.
_AT_MOST, _ALONE, _GAP, _WARM_UP = 100, 0, 1, 2
# Tokens that are read at once came this far apart at the least, for limits.
_LEAST_GAP_S = 1e-4


def measure(options: SuiteOptions, runs: Runs, tell: Tell) -> Iterator[Comparison]:
    """Yields the figures; all deployments are up meanwhile, and one at a time gets load.

    Raises:
        PdpanelError: a deployment does not come up, or a request fails.
    """
    plan = plan_of(options)
    if not plan.cases and not plan.gap_prompt:
        return
    with tempfile.TemporaryDirectory(prefix="pdpanel-pd-") as folder:
        model = str(write_small_model(Path(folder) / "model")) if options.short else options.model
        wanted = deployments_of(plan, model)
        with targets(runs, wanted if plan.cases else {OURS: wanted[OURS]}, tell) as up:
            experiment = _Experiment(plan, options.seed, up, tell)
            for prompt in plan.prompts:
                yield from experiment.prompt(prompt)
            if plan.gap_prompt:
                yield from experiment.gap()


class _Experiment:
    def __init__(self, plan: PdPlan, seed: int, up: Mapping[str, Target], tell: Tell) -> None:
        self._plan = plan
        self._seed = seed
        self._up = up
        self._tell = tell

    def _asked(self, prompt: int, load: int, round_: int = 0) -> Asked:
        return Asked(prompt, self._plan.output, seed_of(self._seed, Case(prompt, load), round_))

    def _warm_up(self, target: Target, prompt: int) -> None:
        """Sends a request to each worker of the target, since the router takes turns."""
        asked = Asked(prompt, self._plan.few, seed_of(self._seed, Case(prompt, _WARM_UP), 0))
        alone(target, asked, self._plan.unified)

    def prompt(self, prompt: int) -> Iterator[Comparison]:
        """Yields the figures of one prompt length."""
        plan = self._plan
        self._tell(f"prompt {prompt}: one request at a time")
        for target in self._up.values():
            self._warm_up(target, prompt)
        asked = Asked(prompt, plan.few, seed_of(self._seed, Case(prompt, _ALONE), 0))
        (usual,) = alone(self._up[PREFILL_FIRST], asked, 1)
        assert usual.first_s is not None
        gap_s = max(_LEAST_GAP_S, statistics.fmean(usual.gaps))
        slo_ms = 1000 * plan.slo.ttft * (usual.first_s - usual.sent_s), 1000 * plan.slo.itl * gap_s
        self._tell(f"prompt {prompt}: saturation")
        most = interleave(
            {
                name: lambda target=target: saturation(target, self._asked(prompt, _AT_MOST), plan.clients, plan.turns)
                for name, target in self._up.items()
            },
            1,
        )
        for peer, goal in SATURATION_GOALS.items():
            case, unit = f"prompt={prompt},load=saturation", "tokens/s"
            yield Comparison(case, "saturation_tokens_per_s", unit, most[OURS], peer, most[peer], goal)
        rate = statistics.median(most[PREFILL_FIRST]) / plan.output
        if not rate:
            raise PeerError(f"{PREFILL_FIRST} gave no token within a load of {plan.clients} clients.")
        for case in plan.cases:
            if case.prompt == prompt:
                yield from self._case(case, rate * case.load / 100, slo_ms)

    def _case(self, case: Case, rate: float, slo_ms: tuple[float, float]) -> Iterator[Comparison]:
        plan = self._plan
        requests = plan.requests_of(rate)
        names = list(self._up)
        found: dict[str, list[LoadResult]] = {name: [] for name in names}
        for round_ in range(plan.rounds_of(case)):
            self._tell(f"{case.name}: round {round_ + 1}, {requests} requests, {rate:.3g}/s")
            asked = self._asked(case.prompt, case.load, round_)
            for name in names if round_ % 2 == 0 else reversed(names):
                found[name].append(at_rate(self._up[name], asked, rate, requests, slo_ms))
        note = f"{requests} requests a round, {rate:.3g}/s"
        good = f"{note}; good: first token within {slo_ms[0]:.0f} ms, mean gap at most {slo_ms[1]:.0f} ms"
        figures = {name: [_figures(result) for result in results] for name, results in found.items()}
        for peer, goals in GOALS.items():
            for metric, unit in _UNITS.items():
                values = {name: [figure[metric] for figure in figures[name]] for name in (OURS, peer)}
                goal = goals.get(metric) if case.load == HALF else None
                told = good if metric == "goodput" else note
                yield Comparison(case.name, metric, unit, values[OURS], peer, values[peer], goal, told)

    def gap(self) -> Iterator[Comparison]:
        """Yields what the KV's way costs a request that is alone."""
        plan = self._plan
        self._tell(f"prompt {plan.gap_prompt}: the gap that the KV causes")
        self._warm_up(self._up[OURS], plan.gap_prompt)
        asked = Asked(plan.gap_prompt, plan.few, seed_of(self._seed, Case(plan.gap_prompt, _GAP), 0))
        yield from gap_figures(plan.gap_prompt, alone(self._up[OURS], asked, plan.gap_requests))


_UNITS = {
    "itl_mean": "ms",
    "itl_p50": "ms",
    "itl_p90": "ms",
    "itl_p99": "ms",
    "itl_max": "ms",
    "ttft_mean": "ms",
    "ttft_p99": "ms",
    "output_tokens_per_s": "tokens/s",
    "goodput": "requests/s",
}


def _figures(result: LoadResult) -> dict[str, float]:
    itl, ttft = result.itl, result.ttft
    if itl is None or ttft is None:
        raise PeerError("The load tells no latencies.")
    return {
        "itl_mean": 1000 * itl.mean,
        "itl_p50": 1000 * itl.p50,
        "itl_p90": 1000 * itl.p90,
        "itl_p99": 1000 * itl.p99,
        "itl_max": 1000 * itl.largest,
        "ttft_mean": 1000 * ttft.mean,
        "ttft_p99": 1000 * ttft.p99,
        "output_tokens_per_s": result.per_s(result.output_tokens),
        "goodput": result.per_s(result.good or 0),
    }
