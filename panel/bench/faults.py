"""`pdpanel bench faults`: load on a real run whose workers are killed and stopped at random; every answer is checked.

Starts a unified worker for the reference answers, then two prefill and two decode workers with a router. The runner
starts again what dies, and kills what stands stopped. Counts are `tally`'s, the time until help is `detection`'s.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...engine.errors import PeerError
from ..runner.lifecycle import ProcessState
from ..runner.procfs import read_stat, send_signal
from ..runs import Runs
from .answer import Answer
from .cases import Case, make_cases
from .client import ask, open_session
from .detection import Kill, detection_seconds, failed_tries
from .session import BenchRun, Tell, deployment, running
from .tally import Tally
from .verdict import Verdict, verdict

__all__ = ["FaultPlan", "measure_faults", "references"]

_CASES = 24
_REFERENCE_CLIENTS = 4
_SPARED_S = 2.0
_POLL_S = 0.25
# A fence waits for the transport's hard timeout at most, about 22 s.
_QUIET_S = 90.0
_LEAVES = 0.08
_STOPS = 0.3
_LONGEST_PAUSE_S = 1.0
_PROGRESS_S = 10.0


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """What is done to the run.

    Attributes:
        seconds: how long there is load.
        clients: at once.
        every_s: the shortest and the longest time between two kills.
        seed: of the choice of victims, times and requests.
    """

    seconds: float
    clients: int = 12
    every_s: tuple[float, float] = (5.0, 10.0)
    seed: int = 0
    model: str = "smollm2-135m-instruct"
    transport: str = "mooncake_tcp"
    prefill: int = 2
    decode: int = 2


def measure_faults(runs: Runs, plan: FaultPlan, tell: Tell) -> Tally:
    """Returns the counts of a whole fault run; everything that was started is stopped, also on Ctrl-C.

    Raises:
        PdpanelError: a run does not come up.
    """
    cases = make_cases(_CASES)
    expected = references(runs, cases, plan.model, tell)
    roles = {"prefill": plan.prefill, "decode": plan.decode}
    wanted = deployment("bench-faults", roles, model=plan.model, transport=plan.transport)
    with running(runs, wanted, tell) as run:
        return asyncio.run(_Faults(run, plan, cases, expected, tell).run())


def references(runs: Runs, cases: Sequence[Case], model: str, tell: Tell) -> dict[str, Answer]:
    """Returns by case what a unified worker answers.

    Raises:
        PeerError: it does not answer one of them.
    """
    wanted = deployment("bench-reference", {"unified": 1}, model=model, transport="tcp")
    with running(runs, wanted, tell) as run:
        return asyncio.run(_answers(run.url, cases))


async def _answers(url: str, cases: Sequence[Case]) -> dict[str, Answer]:
    places = asyncio.Semaphore(_REFERENCE_CLIENTS)
    async with open_session() as session:

        async def one(case: Case) -> Answer:
            async with places:
                answer = await ask(session, url, case)
            if answer is None or verdict(answer) is not Verdict.COMPLETED:
                raise PeerError(f"The unified worker did not answer {case.name}: {answer}.")
            return answer

        return dict(zip((case.name for case in cases), await asyncio.gather(*map(one, cases)), strict=True))


class _Faults:
    """One fault run."""

    def __init__(
        self, run: BenchRun, plan: FaultPlan, cases: Sequence[Case], expected: Mapping[str, Answer], tell: Tell
    ) -> None:
        self._run = run
        self._plan = plan
        self._cases = cases
        self._expected = expected
        self._tell = tell
        self._tally = Tally()
        self._kills: list[Kill] = []
        self._ends = 0.0

    async def run(self) -> Tally:
        """Loads and kills for the planned time, then waits until all is quiet, and counts."""
        self._ends = time.monotonic() + self._plan.seconds
        async with open_session() as session:
            clients = [
                self._client(
                    random.Random(f"{self._plan.seed} {number}"), lambda case, n: ask(session, self._run.url, case, n)
                )
                for number in range(self._plan.clients)
            ]
            await asyncio.gather(*clients, self._kill(), self._report())
        self._tell("load over: waiting until all is quiet")
        await asyncio.to_thread(self._run.wait_ready)
        self._tally.leaked_pages = await self._count_leaks()
        self._count_logs()
        return self._tally

    async def _client(self, rng: random.Random, send: Callable[[Case, int], Awaitable[Answer | None]]) -> None:
        while time.monotonic() < self._ends:
            case = rng.choice(self._cases)
            leave_after = rng.randint(1, 4) if case.stream and rng.random() < _LEAVES else 0
            answer = await send(case, leave_after)
            self._tally.add(case.name, answer, self._expected[case.name])
            if answer is not None and verdict(answer) is not Verdict.COMPLETED:
                # The hint is for people and their clients; a load that asks again sooner finds more faults.
                await asyncio.sleep(rng.uniform(0.1, _LONGEST_PAUSE_S))

    async def _kill(self) -> None:
        rng = random.Random(f"{self._plan.seed} kills")
        while True:
            pause_s = rng.uniform(*self._plan.every_s)
            if time.monotonic() + pause_s > self._ends - _SPARED_S:
                return
            await asyncio.sleep(pause_s)
            alive = [process for process in self._run.workers() if process.state is ProcessState.READY]
            # One that stands stopped is dead already.
            stats = [
                (p, s) for p in alive if p.pid is not None and (s := read_stat(p.pid)) and s.alive and s.state != "T"
            ]
            if not stats:
                continue
            process, stat = rng.choice(stats)
            number = signal.SIGSTOP if rng.random() < _STOPS else signal.SIGKILL
            kill = Kill(time.time(), process.name, number.name.removeprefix("SIG"), self._run.addresses(process.name))
            if send_signal(stat, number):
                self._kills.append(kill)
                self._tally.kills += 1
                self._tally.stops += number is signal.SIGSTOP
                self._tell(f"{number.name} to {process.name}")

    async def _report(self) -> None:
        while (left_s := self._ends - time.monotonic()) > 0:
            await asyncio.sleep(min(_PROGRESS_S, left_s))
            line = self._tally.line()
            self._tell(
                f"{max(0, left_s - _PROGRESS_S):.0f} s left, {line['completed']} completed, {line['kills']} kills"
            )

    async def _count_leaks(self) -> int:
        deadline = time.monotonic() + _QUIET_S
        held = await asyncio.to_thread(self._run.pages_in_use)
        while held and time.monotonic() < deadline:
            await asyncio.sleep(_POLL_S)
            held = await asyncio.to_thread(self._run.pages_in_use)
        for place, pages in held.items():
            self._tally.tell(f"{place}: {pages} pages are not free although nothing is going on")
        return sum(held.values())

    def _count_logs(self) -> None:
        """Counts what the workers' logs say: their metrics began at 0 with each start."""
        tally = self._tally
        for process in self._run.workers():
            tally.restarts += process.restarts
            for line in self._run.log_lines(process.name):
                entry = _entry(line)
                match entry.get("event"):
                    case "late_write":
                        tally.late_writes += len(entry.get("pages", ()))
                        tally.tell(f"{process.name}: {line.strip()}")
                    case "integrity_error" | "damaged_pages" | "fatal":
                        tally.integrity_errors += 1
                        tally.tell(f"{process.name}: {line.strip()}")
        router = next(process for process in self._run.view().processes if process.role == "router")
        seconds = detection_seconds(self._kills, failed_tries(self._run.log_lines(router.name)))
        tally.detect_seconds_max = max(seconds.values(), default=0.0)
        for kill, took_s in seconds.items():
            self._tell(f"{kill.signal} {kill.name}: helped after {took_s:.2f} s")


def _entry(line: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) else {}
