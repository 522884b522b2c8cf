"""`pdpanel bench verdict`: arranged bottlenecks on real runs; does the verdict name what an ablation shows?

For each arrangement the verdict is made from the run's own samples under load. Then each part in turn is made twice as
fast, in stretches that alternate with the arrangement as it stands, so that what else the machine does falls on all of
them alike. The part that raised the throughput most is the truth. What is arranged, `arranged` says.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import mean, median

from ..deployment import Deployment, parse_deployment
from ..runner.procfs import Stat, read_stat
from ..runs import Runs
from ..verdict.evidence import Evidence
from ..verdict.judge import judge
from ..verdict.shape import shape_of
from ..verdict.values import Limit, Verdict
from .arranged import ARRANGEMENTS, HOSTS, Arrangement, Host, truth_of
from .pressure import answered_per_s
from .session import BenchRun, Tell, deployment, running
from .small_model import write_small_model
from .throttle import USUAL, Pace, Throttle

__all__ = ["Bottleneck", "BottlenecksPlan", "BottlenecksResult", "measure_bottlenecks"]

_WANTED = 0.9
# Enough KV pages for every request of a load, where pages are not what is arranged.
_PLACES = "32768"
# Samples are written with the run's own beat of half a second.
_BEAT_S = 0.6


@dataclass(frozen=True, slots=True)
class BottlenecksPlan:
    """What is measured.

    Attributes:
        only: names of arrangements; none means all.
        settle_s: of each stretch, before requests count.
        stretch_s: in which they count.
        watch_s: how long the verdict watches before the ablation.
        rounds: how often each relief is measured.
        model: what the runs serve; empty is a small one of random weights, since what limits does not depend on it.
    """

    only: Sequence[str] = ()
    settle_s: float = 0.5
    stretch_s: float = 3.0
    watch_s: float = 8.0
    rounds: int = 1
    model: str = ""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """One arrangement with what came of it.

    Attributes:
        base: requests per second as arranged, the median of the stretches.
        gains: by part, how many times as many with that part twice as fast.
    """

    name: str
    arranged: Limit
    truth: Limit
    verdict: Verdict
    base: float
    gains: Mapping[Limit, float]

    @property
    def agree(self) -> bool:
        """Whether the verdict names what the ablation shows."""
        return self.verdict.limit is self.truth

    def line(self) -> dict[str, object]:
        """Returns it as a JSON line shows it."""
        return {
            "suite": "verdict",
            "case": self.name,
            "arranged": str(self.arranged),
            "truth": str(self.truth),
            "verdict": str(self.verdict.limit),
            "agree": self.agree,
            "requests_per_s": round(self.base, 3),
            "measured_gains": {str(limit): round(gain, 2) for limit, gain in self.gains.items()},
            "predicted_gains": {name: round(gain, 2) for name, gain in self.verdict.gains.items()},
            "sentence": self.verdict.sentence,
        }

    def text(self) -> str:
        """Returns it as a line for people."""
        gains = ", ".join(f"{limit} x{gain:.2f}" for limit, gain in self.gains.items())
        agree = "agrees" if self.agree else "DISAGREES"
        return f"{self.name:<36} ablation: {self.truth:<9} verdict: {self.verdict.limit:<9} {agree:<10} {gains}"


@dataclass
class BottlenecksResult:
    """All arrangements."""

    cases: list[Bottleneck] = field(default_factory=list)

    def line(self) -> dict[str, object]:
        """Returns the summary."""
        agree, total = sum(case.agree for case in self.cases), len(self.cases)
        share = round(agree / total, 3) if total else 0.0
        return {"suite": "verdict", "agree": agree, "total": total, "share": share, "goal": _WANTED}

    @property
    def ok(self) -> bool:
        """True when the verdict agrees often enough."""
        return bool(self.cases) and sum(case.agree for case in self.cases) >= _WANTED * len(self.cases)


def measure_bottlenecks(runs: Runs, plan: BottlenecksPlan, tell: Tell) -> Iterator[Bottleneck]:
    """Yields each arrangement as it is done; everything that was started is stopped, also on Ctrl-C.

    Raises:
        PdpanelError: a run does not come up.
    """
    with tempfile.TemporaryDirectory(prefix="pdpanel-bench-") as folder:
        model = plan.model or str(write_small_model(Path(folder) / "small"))
        yield from _measured(runs, replace(plan, model=model), tell)


def _measured(runs: Runs, plan: BottlenecksPlan, tell: Tell) -> Iterator[Bottleneck]:
    wanted = [one for one in ARRANGEMENTS if not plan.only or one.name in plan.only]
    for name, group in itertools.groupby(wanted, key=lambda one: one.host):
        host = HOSTS[name]
        with contextlib.ExitStack() as stack:
            base = stack.enter_context(running(runs, _deployment(f"{name}", host, plan.model, 1.0), tell))
            others: dict[Limit, BenchRun] = {}
            if "unified" not in host.roles:
                wanted_run = _deployment(f"{name}-fast", host, plan.model, 0.5)
                others[Limit.TRANSFER] = stack.enter_context(running(runs, wanted_run, tell))
            if host.more_decode:
                wanted_run = _deployment(f"{name}-more", replace(host, decode=host.more_decode), plan.model, 1.0)
                others[Limit.DECODE] = stack.enter_context(running(runs, wanted_run, tell))
            stats = {
                f"{run.id} {one.role}": _stat(one.pid)
                for run in (base, *others.values())
                for one in run.view().processes
            }
            throttle = stack.enter_context(Throttle(stats))
            for one in group:
                tell(f"{one.name}: {one.arranged} is arranged")
                yield asyncio.run(_Ablation(one, base, others, throttle, plan, tell).run())
                throttle.set({})


def _stat(pid: int | None) -> Stat:
    stat = read_stat(pid) if pid is not None else None
    assert stat is not None, "a run that is ready has processes"
    return stat


def _deployment(name: str, host: Host, model: str, share: float) -> Deployment:
    """Returns the deployment of a host, whose transfer is late by `share` of its delay.

    A process that is stopped by us again and again must not be taken for one that stands still, so none is restarted.
    """
    made = deployment(f"bench-{name}", host.roles, model=model, transport="tcp").model_dump(exclude_defaults=True)
    made["restart"] = "never"
    made["workers"]["flags"]["max-total-tokens"] = _PLACES
    # Threads would wait for each other longer than they compute so small a model, and the longer the larger a batch is.
    made["workers"]["flags"]["threads"] = "1"
    made["env"] = {"PDPANEL_FAULTY_TRANSPORT": json.dumps({"delay": 1.0, "delay_s": host.delay_s * share})}
    if host.decode:
        made["decode"]["flags"] = {key: str(value) for key, value in host.decode.items()}
    return parse_deployment(made)


class _Ablation:
    """The measurement of one arrangement."""

    def __init__(
        self,
        arrangement: Arrangement,
        base: BenchRun,
        others: Mapping[Limit, BenchRun],
        throttle: Throttle,
        plan: BottlenecksPlan,
        tell: Tell,
    ) -> None:
        self._arrangement = arrangement
        self._base = base
        self._others = others
        self._throttle = throttle
        self._plan = plan
        self._tell = tell
        self._rate = 0.0
        self._rng = random.Random(f"{plan.seed} {arrangement.name}")

    async def run(self) -> Bottleneck:
        """Watches for the verdict, then measures each relief between stretches without one."""
        load = self._arrangement.load
        if load.of_capacity:
            self._rate = load.of_capacity * await self._stretch(None)
        verdict = await self._watch()
        base = [await self._stretch(None)]
        gains: dict[Limit, list[float]] = {}
        reliefs = self._reliefs() * self._plan.rounds
        for pair in (reliefs[at : at + 2] for at in range(0, len(reliefs), 2)):
            rates = [await self._stretch(relief) for relief in pair]
            base.append(await self._stretch(None))
            # Against the stretches beside it alone: what else the machine does changes from one to the next.
            usual = mean(base[-2:])
            for relief, rate in zip(pair, rates, strict=True):
                gains.setdefault(relief, []).append(rate / usual if usual > 0 else 1.0)
        typical = {relief: median(ratios) for relief, ratios in gains.items()}
        name, arranged = self._arrangement.name, self._arrangement.arranged
        return Bottleneck(name, arranged, truth_of(typical), verdict, median(base), typical)

    def _reliefs(self) -> list[Limit]:
        unified = Limit.TRANSFER not in self._others
        roles = [Limit.UNIFIED] if unified else [Limit.PREFILL, Limit.DECODE, Limit.TRANSFER]
        return [*roles, Limit.ROUTER]

    def _set_paces(self, relief: Limit | None) -> None:
        paces: dict[str, Pace] = {}
        for run in (self._base, *self._others.values()):
            for role in ("prefill", "decode", "unified", "router"):
                pace = self._arrangement.slow.get(role, USUAL)
                # Another run that relieves the part already, with more places, is not made faster as well.
                is_faster = role == relief and relief not in self._others
                paces[f"{run.id} {role}"] = pace.twice if is_faster else pace
        self._throttle.set(paces)

    async def _watch(self) -> Verdict:
        self._set_paces(None)
        began = time.time()
        await self._ask(self._base.url, self._plan.watch_s)
        ended = began + self._plan.settle_s + self._plan.watch_s
        await asyncio.sleep(_BEAT_S)
        plan = self._base.runs.plan(self._base.id)
        found = await asyncio.to_thread(self._base.runs.range, self._base.id, began + self._plan.settle_s, ended, 1000)
        rows = [(row.t, row.values) for row in found.rows if row.values and row.t <= ended]
        verdict = judge(Evidence(rows, shape_of(plan)))
        self._tell(f"  {verdict.sentence}")
        return verdict

    async def _stretch(self, relief: Limit | None) -> float:
        self._set_paces(relief)
        run = self._base if relief is None else self._others.get(relief, self._base)
        rate = await self._ask(run.url, self._plan.stretch_s * self._arrangement.patience)
        self._tell(f"  {relief or 'as arranged'}: {rate:.2f} requests/s")
        return rate

    async def _ask(self, url: str, stretch_s: float) -> float:
        load = self._arrangement.load
        return await answered_per_s(url, load, self._rate, self._plan.settle_s, stretch_s, self._rng)
