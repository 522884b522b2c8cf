"""Measures which way the KV of a run travels: watches the counters, sends test requests, watches again, and judges.

The shell around `judge`; sends real requests to the run, and writes nothing. Blocks for some seconds; called by the CLI
and by the web part's thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from ...engine.errors import ConflictError
from ..attach.key_file import NO_KEY, HeadersOf
from ..config import inherited_environment
from ..launch import LaunchPlan, Role
from .host_counters import Count, HostCounters
from .judge import judge
from .looks import Look, differences, moved_by_engine
from .nvlink import NvlinkBytes
from .proof import Proof
from .traffic import Answered, EngineBytes, Requests
from .verdict import Asked, Way

__all__ = ["Clock", "Measures", "asked_of", "prove"]

_REQUESTS: Final = 3
_LOOKS: Final = 5
_LOOK_S: Final = 0.5
# Some firmware shows what has travelled only a second later.
_SETTLE_S: Final = 1.0
_FURTHER_TURNS: Final = 2

Tell = Callable[[str, float], None]


class _Counters(Protocol):
    def read(self) -> Mapping[str, Count]: ...


class _Engine(Protocol):
    source: str

    def read(self) -> float | None: ...


class _Requests(Protocol):
    def ask(self) -> Answered: ...


@dataclass(frozen=True, slots=True)
class Clock:
    """The time: `now` in seconds that only go forward, `rest` waits for some, `wall` is unix seconds."""

    now: Callable[[], float] = time.monotonic
    rest: Callable[[float], None] = time.sleep
    wall: Callable[[], float] = time.time


@dataclass(frozen=True, slots=True)
class Measures:
    """What is read and asked; replaced by tests."""

    counters: _Counters
    engine: _Engine
    requests: _Requests
    clock: Clock = Clock()


def asked_of(plan: LaunchPlan) -> Asked:
    """Returns which way `plan` asks its KV to travel."""
    if plan.transport == "shm":
        return Asked.SHARED_MEMORY
    if plan.transport == "tcp" or plan.transport.endswith("_tcp"):
        return Asked.TCP
    if _nics(plan) or "rdma" in plan.transport or "efa" in plan.transport:
        return Asked.RDMA
    return Asked.ANY


def prove(
    run_id: str,
    plan: LaunchPlan,
    tell: Tell,
    measures: Measures | None = None,
    headers: HeadersOf = NO_KEY.headers,
) -> Proof:
    """Returns which way the KV of a run travels now, with the evidence.

    Args:
        run_id: the run.
        plan: of the run.
        tell: takes what goes on, and how much of it is done, 0 to 1.
        measures: what is read and asked; this host's and this run's unless a test names others.
        headers: what a question for a URL carries, such as the key of an attached run.

    Raises:
        ConflictError: the run has no prefill and decode apart.
        PeerError: the deployment does not answer a test request.
    """
    roles = {spec.role for spec in plan.processes}
    if not {Role.PREFILL, Role.DECODE} <= roles:
        raise ConflictError("run", run_id, "moves no KV between workers", "start one with prefill and decode apart")
    if measures is not None:
        return _measured(run_id, plan, tell, measures)
    links = _Links(plan)
    try:
        return _measured(run_id, plan, tell, Measures(links, EngineBytes(plan, headers), Requests(plan, headers)))
    finally:
        links.close()


class _Links:
    """The links of this host, with those of its GPUs where the plan has some."""

    def __init__(self, plan: LaunchPlan) -> None:
        self._host = HostCounters()
        self._nvlink = NvlinkBytes(inherited_environment()) if any(spec.gpus for spec in plan.processes) else None
        if self._nvlink is not None:
            self._nvlink.start()

    def read(self) -> Mapping[str, Count]:
        return {**self._host.read(), **(self._nvlink.read() if self._nvlink is not None else {})}

    def close(self) -> None:
        if self._nvlink is not None:
            self._nvlink.close()


def _measured(run_id: str, plan: LaunchPlan, tell: Tell, measures: Measures) -> Proof:
    proof = _turn(run_id, plan, lambda text, share: tell(text, 0.8 * share), measures)
    for _ in range(_FURTHER_TURNS):
        # Other traffic may have hidden the KV this time; what the engine does not count it never will.
        if proof.verdict.way is not Way.UNKNOWN or not proof.expected_bytes:
            break
        proof = _turn(run_id, plan, lambda text, share: tell(f"once more: {text}", 0.8 + 0.1 * share), measures)
    tell(proof.verdict.sentence, 1.0)
    return proof


def _turn(run_id: str, plan: LaunchPlan, tell: Tell, measures: Measures) -> Proof:
    clock = measures.clock
    tell("watching the counters without test requests", 0.05)
    looks = [_look(measures)]
    for number in range(1, _LOOKS):
        clock.rest(_LOOK_S)
        looks.append(_look(measures))
        tell("watching the counters without test requests", 0.05 + 0.2 * number / _LOOKS)
    answered: list[Answered] = []
    during: list[Look] = []
    for number in range(_REQUESTS):
        tell(f"test request {number + 1} of {_REQUESTS}", 0.3 + 0.5 * number / _REQUESTS)
        answered.append(measures.requests.ask())
        during.append(_look(measures))
    tell("comparing the counters", 0.9)
    clock.rest(_SETTLE_S)
    during.append(end := _look(measures))
    nics = _nics(plan)
    evidence = differences(looks, during)
    moved = moved_by_engine(looks, end)
    expected = None if moved is None else moved.whole
    return Proof(
        run_id=run_id,
        at=clock.wall(),
        verdict=judge(evidence, expected, asked_of(plan), nics),
        asked=asked_of(plan),
        nics=nics,
        expected_bytes=expected,
        expected_source=measures.engine.source,
        requests=len(answered),
        prompt_tokens=sum(one.prompt_tokens for one in answered),
        seconds=end.at - looks[-1].at,
        baseline_s=looks[-1].at - looks[0].at,
        evidence=evidence,
        own_bytes=0.0 if moved is None else moved.own,
    )


def _nics(plan: LaunchPlan) -> tuple[str, ...]:
    workers = (spec for spec in plan.processes if spec.role in {Role.PREFILL, Role.DECODE})
    return tuple(dict.fromkeys(nic for spec in workers for nic in spec.nics))


def _look(measures: Measures) -> Look:
    links = measures.counters.read()
    return Look(measures.clock.now(), links, measures.engine.read())
