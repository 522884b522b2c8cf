"""`pdpanel bench clients`: many streaming clients at once against few, in turns on the same run.

A crowd is one request per client, all at once: as many are answered as queue and batch hold, the rest is refused and
told when to come again. The few ask again and again. What counts is the ratio of the speeds.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import resource
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from ..runs import Runs
from .answer import Answer
from .cases import Case, make_cases
from .client import HUNG, ask, open_session
from .faults import references
from .session import Tell, deployment, running
from .verdict import Verdict, is_right, verdict

__all__ = ["ClientsPlan", "ClientsResult", "Round", "measure_clients"]

_CASES = 8
_TOKENS = 8
_LIMIT_S = 600.0
_SPARE_FILES = 256
# Below this share of the few's speed, a crowd costs more than it should.
_RATIO = 0.9


@dataclass(frozen=True, slots=True)
class ClientsPlan:
    """What is measured.

    Attributes:
        clients: of the crowd.
        few: clients that it is compared with.
        requests: of the few, in each round.
        rounds: of each kind, in turns.
        queue: requests that may wait at a worker; None is the engine's own default.
    """

    clients: int = 1024
    few: int = 32
    requests: int = 256
    rounds: int = 3
    queue: int | None = None
    model: str = "smollm2-135m-instruct"
    transport: str = "mooncake_tcp"


@dataclass
class Round:
    """One round's counts.

    Attributes:
        seconds: from the first request to the last answer.
        wrong: answers that are not the reference.
    """

    seconds: float = 0.0
    completed: int = 0
    refused: int = 0
    failed: int = 0
    dropped: int = 0
    hung: int = 0
    wrong: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def per_s(self) -> float:
        """Completed requests per second."""
        return self.completed / self.seconds if self.seconds else 0.0

    def add(self, name: str, answer: Answer, reference: Answer) -> None:
        """Counts an answer."""
        came = verdict(answer)
        if came is Verdict.COMPLETED:
            self.completed += 1
        elif came is Verdict.REFUSED:
            self.refused += 1
        elif came is Verdict.FAILED:
            self.failed += 1
            self.problems.append(f"{name}: {answer.error or answer.finish}")
        elif HUNG in answer.faults:
            self.hung += 1
        else:
            self.dropped += 1
            self.problems.append(f"{name}: status {answer.status}, {answer.ends} ends, {'; '.join(answer.faults)}")
        if came in (Verdict.COMPLETED, Verdict.FAILED) and not is_right(answer, reference):
            self.wrong += 1
            self.problems.append(f"{name}: said {answer.text!r} where {reference.text!r} is right")


@dataclass(frozen=True, slots=True)
class ClientsResult:
    """All rounds, those of the crowd and those of the few."""

    plan: ClientsPlan
    crowd: Sequence[Round]
    few: Sequence[Round]

    def line(self) -> dict[str, int | float]:
        """Returns the result; counts are of the crowd's rounds together, speeds are medians."""
        all_rounds = (*self.crowd, *self.few)
        speed, few = median(r.per_s for r in self.crowd), median(r.per_s for r in self.few)
        completed, failed = sum(r.completed for r in self.crowd), sum(r.failed for r in self.crowd)
        return {
            "clients": self.plan.clients,
            "rounds": len(self.crowd),
            "accepted": completed + failed,
            "completed": completed,
            "refused": sum(r.refused for r in self.crowd),
            "failed": sum(r.failed for r in all_rounds),
            "hung": sum(r.hung for r in all_rounds),
            "dropped": sum(r.dropped for r in all_rounds),
            "wrong_tokens": sum(r.wrong for r in all_rounds),
            "completed_per_s": round(speed, 3),
            f"completed_per_s_{self.plan.few}_clients": round(few, 3),
            "ratio": round(speed / few, 3) if few else 0.0,
        }

    @property
    def problems(self) -> list[str]:
        """What went wrong, in words."""
        return [problem for r in (*self.crowd, *self.few) for problem in r.problems][:20]

    @property
    def ok(self) -> bool:
        """True when nobody was dropped, hung or told wrong, and the crowd is served as fast as the few."""
        line = self.line()
        bad = ("failed", "hung", "dropped", "wrong_tokens")
        return line["completed"] > 0 and not any(line[name] for name in bad) and line["ratio"] >= _RATIO


def measure_clients(runs: Runs, plan: ClientsPlan, tell: Tell) -> ClientsResult:
    """Returns the measurement on one prefill and one decode worker; everything that was started is stopped.

    Raises:
        PdpanelError: a run does not come up.
    """
    _allow_connections(plan.clients)
    cases = [case for case in make_cases(2 * _CASES, longest=_TOKENS) if case.stream][:_CASES]
    expected = references(runs, cases, plan.model, tell)
    flags = {} if plan.queue is None else {"max_queued_requests": plan.queue}
    roles = {"prefill": 1, "decode": 1}
    wanted = deployment(
        "bench-clients", roles, model=plan.model, transport=plan.transport, fields=None, env=None, **flags
    )
    few: list[Round] = []
    crowd: list[Round] = []
    with running(runs, wanted, tell) as run:
        asyncio.run(_round(run.url, cases, expected, plan.few, plan.few))  # warms up
        for number in range(plan.rounds):
            few.append(asyncio.run(_round(run.url, cases, expected, plan.few, plan.requests)))
            tell(f"round {number + 1}: {plan.few} clients: {few[-1].per_s:.2f} completed/s")
            crowd.append(asyncio.run(_round(run.url, cases, expected, plan.clients, plan.clients)))
            tell(f"round {number + 1}: {plan.clients} clients: {crowd[-1].per_s:.2f} completed/s")
    return ClientsResult(plan, crowd, few)


async def _round(url: str, cases: Sequence[Case], expected: Mapping[str, Answer], clients: int, requests: int) -> Round:
    """Sends `requests` requests, `clients` at once."""
    done, numbers = Round(), itertools.count()
    began = last = time.perf_counter()
    async with open_session() as session:

        async def client() -> None:
            nonlocal last
            while (number := next(numbers)) < requests:
                case = cases[number % len(cases)]
                answer = await ask(session, url, case, limit_s=_LIMIT_S)
                assert answer is not None
                done.add(case.name, answer, expected[case.name])
                if verdict(answer) is Verdict.COMPLETED:
                    last = time.perf_counter()

        await asyncio.gather(*(client() for _ in range(clients)))
    done.seconds = last - began
    return done


def _allow_connections(clients: int) -> None:
    """Raises this process's limit of open files, which the run inherits: a router has two or three per client."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * clients + _SPARE_FILES
    if soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if hard < 0 else min(wanted, hard), hard))
