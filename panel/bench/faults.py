"""`pdpanel bench faults`: load on a real run whose workers are killed and stopped at random; every answer is checked.

Starts a unified worker for the reference answers, then the workers of a topology with a router. The runner starts again
what dies, and kills what stands stopped. Whom to strike says `strikes`, counts are `tally`'s, the time until help is
`detection`'s.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...engine.errors import PeerError
from ..runner.lifecycle import ProcessState
from ..runner.procfs import Stat, read_stat, send_signal
from ..runs import ProcessView, Runs
from .answer import Answer
from .cases import Case, make_cases
from .client import ask, open_session
from .detection import Kill, detection_seconds, failed_tries
from .image_cases import with_images
from .session import BenchRun, Tell, deployment, running
from .strikes import Strike, next_strike
from .tally import Tally
from .topology import TOPOLOGIES, Topology
from .verdict import Verdict, verdict

__all__ = ["FaultPlan", "measure_faults", "references"]

_CASES = 24
_REFERENCE_CLIENTS = 4
_SPARED_S = 2.0
_POLL_S = 0.25
# A fence waits for the transport's hard timeout at most, about 22 s.
_QUIET_S = 90.0
_LEAVES = 0.08
_LONGEST_PAUSE_S = 1.0
_PROGRESS_S = 10.0
_GONE_S = 10.0
_RANK_DIED = re.compile(r"Rank \d+ \(pid \d+ on node \d+\) was ended by SIGKILL\.")


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """What is done to the run.

    Attributes:
        seconds: how long there is load.
        clients: at once.
        every_s: the shortest and the longest time between two kills.
        seed: of the choice of victims, times and requests.
        model: what is served; empty is the topology's own.
    """

    seconds: float
    clients: int = 12
    every_s: tuple[float, float] = (5.0, 10.0)
    seed: int = 0
    model: str = ""
    transport: str = "mooncake_tcp"
    topology: Topology = field(default_factory=lambda: TOPOLOGIES["pair"])


def measure_faults(runs: Runs, plan: FaultPlan, tell: Tell) -> Tally:
    """Returns the counts of a whole fault run; everything that was started is stopped, also on Ctrl-C.

    Raises:
        PdpanelError: a run does not come up.
    """
    topology, model = plan.topology, plan.model or plan.topology.model
    cases = make_cases(_CASES, context=topology.context)
    if topology.has_images:
        cases = with_images(cases)
    expected = references(runs, cases, model, tell)
    wanted = deployment(
        "bench-faults",
        topology.roles,
        model=model,
        transport=plan.transport,
        fields=topology.fields,
        env=topology.env,
    )
    with running(runs, wanted, tell) as run:
        tally = asyncio.run(_Faults(run, plan, cases, expected, tell).run())
    _count_processes(run, tally)
    return tally


def _count_processes(run: BenchRun, tally: Tally) -> None:
    """Counts what still runs although the run was stopped."""
    deadline = time.monotonic() + _GONE_S
    while (left := run.processes_left()) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    tally.leaked_processes = len(left)
    if left:
        tally.tell(f"processes that outlived their run: {left}")


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
        self._rank_kills = 0
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
        self._tally.leaked_pages = await self._count_left(self._run.pages_in_use, "pages are not free")
        self._tally.leaked_rooms = await self._count_left(self._run.open_work, "have not ended")
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
        rng, turn = random.Random(f"{self._plan.seed} kills"), 0
        while True:
            pause_s = rng.uniform(*self._plan.every_s)
            if time.monotonic() + pause_s > self._ends - _SPARED_S:
                return
            await asyncio.sleep(pause_s)
            alive = {process.name: (process, stat) for process, stat in self._alive()}
            roles = {name: process.role for name, (process, _) in alive.items()}
            strike = next_strike(rng, turn, roles, self._plan.topology)
            turn += 1
            if strike is not None:
                victims = [(alive[name][0], await self._victim(strike, *alive[name])) for name in strike.names]
                for process, stat in victims:
                    self._strike(strike, process, stat)

    def _alive(self) -> list[tuple[ProcessView, Stat]]:
        """Returns the processes that may be struck; one that stands stopped is dead already."""
        processes = [p for p in (*self._run.workers(), *self._run.encoders()) if p.state is ProcessState.READY]
        stats = ((p, read_stat(p.pid)) for p in processes if p.pid is not None)
        return [(p, stat) for p, stat in stats if stat is not None and stat.alive and stat.state != "T"]

    async def _victim(self, strike: Strike, process: ProcessView, first: Stat) -> Stat:
        """Returns the process of the rank that is meant."""
        if not strike.at_follower:
            return first
        pids = await asyncio.to_thread(self._run.rank_pids, process)
        return next((found for pid in pids if (found := read_stat(pid)) is not None and found.alive), first)

    def _strike(self, strike: Strike, process: ProcessView, stat: Stat) -> None:
        name, signal_name = process.name, strike.number.name.removeprefix("SIG")
        kill = Kill(time.time(), name, signal_name, self._run.addresses(name))
        if send_signal(stat, strike.number):
            self._kills.append(kill)
            self._tally.kills += 1
            self._tally.stops += strike.number is signal.SIGSTOP
            at_rank = stat.pid != process.pid
            self._rank_kills += at_rank and not self._plan.topology.goes_on
            self._tell(f"{strike.number.name} to {'a rank of ' if at_rank else ''}{name}")

    async def _report(self) -> None:
        while (left_s := self._ends - time.monotonic()) > 0:
            await asyncio.sleep(min(_PROGRESS_S, left_s))
            line = self._tally.line()
            self._tell(
                f"{max(0, left_s - _PROGRESS_S):.0f} s left, {line['completed']} completed, {line['kills']} kills"
            )

    async def _count_left(self, look: Callable[[], dict[str, int]], words: str) -> int:
        """Returns how much is left once all should be quiet."""
        deadline = time.monotonic() + _QUIET_S
        left = await asyncio.to_thread(look)
        while left and time.monotonic() < deadline:
            await asyncio.sleep(_POLL_S)
            left = await asyncio.to_thread(look)
        for place, count in left.items():
            self._tally.tell(f"{place}: {count} {words} although nothing is going on")
        return sum(left.values())

    def _count_logs(self) -> None:
        """Counts what the workers' logs say: their metrics began at 0 with each start."""
        tally = self._tally
        for process in (*self._run.workers(), *self._run.encoders()):
            tally.restarts += process.restarts
            for line in self._run.log_lines(process.name):
                entry = _entry(line)
                match entry.get("event"):
                    case "fatal" if self._rank_kills and _RANK_DIED.match(str(entry.get("reason"))):
                        self._rank_kills -= 1  # its worker ended for what we did
                    case "rank_lost" if self._plan.topology.goes_on:
                        tally.ranks_lost += 1
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
