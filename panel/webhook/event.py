"""What is worth telling about a run: two records in, events out; pure.

A crash is a process that ended by itself, also one that was started again at once. A run recovers when all is ready
again after that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ...nic_probe.finding import Finding
from ..redact import redact
from ..runner.lifecycle import ProcessState, RunState
from ..runner.state import ProcessRecord, RunRecord

__all__ = ["PROCESS_CRASHED", "RUN_FAILED", "RUN_RECOVERED", "Event", "Witness"]

PROCESS_CRASHED, RUN_FAILED, RUN_RECOVERED = "process-crashed", "run-failed", "run-recovered"
_MOST_FINDINGS = 5
_LONGEST = 500


@dataclass(frozen=True, slots=True)
class Event:
    """One event.

    Attributes:
        event: one of the three names above.
        run: the run's id.
        process: the process; empty for the whole run.
        at: unix seconds.
        simulated: the run's GPUs and NICs are made up.
    """

    event: str
    run: str
    process: str
    reason: str
    findings: tuple[Finding, ...]
    at: float
    simulated: bool = False

    def body(self) -> dict[str, object]:
        """Returns what is sent, as JSON values without secrets."""
        return {
            "event": self.event,
            "run": self.run,
            "process": self.process,
            "reason": _plain(self.reason),
            "findings": [
                {
                    "id": each.id,
                    "severity": str(each.severity),
                    "subject": _plain(each.subject),
                    "reason": _plain(each.reason),
                    "remedy": _plain(each.remedy),
                }
                for each in self.findings[:_MOST_FINDINGS]
            ],
            "at": self.at,
            "simulated": self.simulated,
        }


def _plain(text: str) -> str:
    return redact(text)[:_LONGEST]


class Witness:
    """Compares each look at a run with the one before."""

    def __init__(self, record: RunRecord) -> None:
        self._last = record
        self._hurt = record.state is RunState.DEGRADED

    def look(self, record: RunRecord, at: float) -> Sequence[Event]:
        """Returns what happened since the last look."""
        events = tuple(self._compare(record, at))
        self._last = record
        return events

    def _compare(self, now: RunRecord, at: float) -> Iterator[Event]:
        before = {process.name: process for process in self._last.processes}
        stopping = now.stop_asked or now.state is RunState.STOPPING
        for process in now.processes:
            if not stopping and process.name in before and _crashed(before[process.name], process):
                self._hurt = True
                findings, reason = process.findings, process.reason or "it ended by itself"
                yield Event(PROCESS_CRASHED, now.id, process.name, reason, findings, at, now.simulated)
        if now.state is self._last.state:
            return
        if now.state is RunState.FAILED:
            self._hurt = True
            reason = now.notice or next((each.reason for each in now.processes if each.reason), "it failed")
            yield Event(RUN_FAILED, now.id, "", reason, now.findings, at, now.simulated)
        elif now.state is RunState.READY and self._hurt:
            self._hurt = False
            yield Event(RUN_RECOVERED, now.id, "", "all of its processes are ready again", (), at, now.simulated)


def _crashed(before: ProcessRecord, now: ProcessRecord) -> bool:
    if now.failures > before.failures:
        return True
    return now.state is ProcessState.CRASHED and before.state is not ProcessState.CRASHED
