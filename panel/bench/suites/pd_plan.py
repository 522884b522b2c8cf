"""What the `pd` suite measures: prompts, loads, how long each stretch is, and the goals. Pure.

A stretch at a rate has as many requests as come in `window_s`, but at least `least` of them; the three deployments are
asked the same requests at the same times. Figures at half load are measured in every round, the others once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..comparison import Goal
from ..suite import SuiteOptions

__all__ = [
    "GOALS",
    "HALF",
    "MIXED",
    "OURS",
    "PREFILL_FIRST",
    "SATURATION_GOALS",
    "Case",
    "PdPlan",
    "Slo",
    "plan_of",
    "seed_of",
]

OURS, PREFILL_FIRST, MIXED = "1p1d", "unified-prefill-first", "unified-mixed"
HALF = 50
"""The load, in percent, at which the goals hold."""

GOALS: Mapping[str, Mapping[str, Goal]] = {
    PREFILL_FIRST: {
        "itl_mean": Goal(at_most=0.6),
        "itl_p99": Goal(at_most=0.067),
        "ttft_mean": Goal(at_most=1.3),
    },
    MIXED: {"itl_mean": Goal(at_most=0.8), "itl_p99": Goal(at_most=0.3), "ttft_mean": Goal(at_most=1.5)},
}
"""At half load, of the ratio to each peer."""

SATURATION_GOALS = {PREFILL_FIRST: Goal(at_least=0.99), MIXED: Goal(at_least=0.95)}


@dataclass(frozen=True, slots=True)
class Case:
    """One prompt length at one load, in percent of the saturation of the unified pair that computes prompts first."""

    prompt: int
    load: int

    @property
    def name(self) -> str:
        """The case as figures name it."""
        return f"prompt={self.prompt},load={self.load}"


@dataclass(frozen=True, slots=True)
class Slo:
    """What a request may take to count as good: multiples of what one takes alone on a unified worker."""

    ttft: float = 5.0
    itl: float = 3.0


@dataclass(frozen=True, slots=True)
class PdPlan:
    """How much is measured.

    Attributes:
        output: tokens of each answer; at saturation as many on average.
        few: tokens of the answer to a request that is alone.
        cases: those that are wanted.
        rounds: of the cases at half load.
        clients: of the closed loop that finds the saturation; its figure is taken over `turns` answers for each of
            them, after one for each.
        window_s: how long requests of a case come, if they are at least `least`.
        gap_prompt: the prompt whose KV is timed, 0 for none, in `gap_requests` requests.
        pool_tokens: KV places of each worker, so that the pool limits nothing.
        mixed_budget: tokens of a mixed step.
        unified: workers of each unified deployment.
    """

    output: int
    few: int
    cases: Sequence[Case]
    rounds: int
    clients: int
    turns: int
    window_s: float
    least: int
    gap_prompt: int
    gap_requests: int
    pool_tokens: int
    mixed_budget: int
    unified: int = 2
    slo: Slo = Slo()

    @property
    def prompts(self) -> list[int]:
        """The prompt lengths of the cases, each once."""
        return list(dict.fromkeys(case.prompt for case in self.cases))

    def rounds_of(self, case: Case) -> int:
        """Returns how often a case is measured."""
        return self.rounds if case.load == HALF else 1

    def requests_of(self, rate: float) -> int:
        """Returns the requests of a stretch in which `rate` come in a second."""
        return max(self.least, round(rate * self.window_s))


_PROMPTS, _LOADS = (256, 1024, 2048), (25, HALF, 80)


def plan_of(options: SuiteOptions) -> PdPlan:
    """Returns the plan; without wishes, the longest and the shortest prompt are measured at half load alone."""
    if options.short:
        return PdPlan(
            output=8,
            few=4,
            cases=[case for case in (Case(48, HALF),) if options.wants(case.name)],
            rounds=1,
            clients=2,
            turns=2,
            window_s=0.5,
            least=3,
            gap_prompt=64 if options.wants("prompt=64,load=alone") else 0,
            gap_requests=2,
            pool_tokens=2048,
            mixed_budget=48,
            unified=1,
        )
    every = [Case(prompt, load) for prompt in _PROMPTS for load in _LOADS]
    usual = [case for case in every if case.load == HALF or case.prompt == _PROMPTS[1]]
    gap = _PROMPTS[-1]
    return PdPlan(
        output=128,
        few=24,
        cases=[case for case in (every if options.only else usual) if options.wants(case.name)],
        rounds=options.rounds,
        clients=8,
        turns=2,
        window_s=12.0,
        least=6,
        gap_prompt=gap if options.wants(f"prompt={gap},load=alone") else 0,
        gap_requests=5,
        pool_tokens=32768,
        # Of a step's time as on a GPU: several times that of a decode step, well below that of a whole prompt.
        mixed_budget=128,
    )


def seed_of(seed: int, case: Case, round_: int) -> int:
    """Returns the seed of a stretch: prompts never come twice, so that no prefix cache helps."""
    return ((seed * 1009 + case.prompt) * 1009 + case.load) * 1009 + round_
