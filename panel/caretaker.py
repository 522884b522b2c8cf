"""Gives runs whose runner has died a new one, by itself, as long as the panel is open.

Looks every few seconds; that costs a glance at each run's record and lock. A run that was left on purpose stays left.
One whose new runner ends soon as well is tried again after longer and longer pauses, and its notice says so. Each
attempt is in the audit log. The panel's start begins it; the page asks it for notices. Starts nothing else.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from ..engine.errors import PdpanelError
from .audit import Audit, Entry
from .run_store import RunStore
from .rundir import RunDir
from .runner.lifecycle import FINAL, RunState
from .runner.state import read_record
from .views import RunView

__all__ = ["LOOK_S", "Caretaker"]

LOOK_S = 10.0
# A runner that lived this long is not one that dies of what it finds.
_WELL_S = 60.0
_LONGEST_S = 600.0


@dataclass(frozen=True, slots=True)
class _Case:
    """A run that was given a new runner not long ago.

    Attributes:
        tries: how often, one soon after the other.
        at: when the last one was.
        due: when the next one is, should that have been in vain.
        problem: why there is no new runner, a sentence; empty when there was one.
    """

    tries: int
    at: float
    due: float
    problem: str = ""


class Caretaker:
    """Looks after the runs below one state folder.

    Args:
        store: the runs.
        take_over: gives a run a new runner, or None where another panel was first; see `Runs.take_over`.
        audit: where each attempt is noted.
        tell: takes one sentence for each of them.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        store: RunStore,
        take_over: Callable[[str], RunView | None],
        audit: Audit,
        tell: Callable[[str], None] = lambda line: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._take_over = take_over
        self._audit = audit
        self._tell = tell
        self._clock = clock
        self._cases: dict[str, _Case] = {}
        self._trouble = ""

    def keep(self, stop: threading.Event, every_s: float) -> None:
        """Looks at once and then every `every_s` seconds, until `stop` is set."""
        while True:
            self.look()
            if stop.wait(every_s):
                return

    def look(self) -> None:
        """Looks at every run once; one that fails stops no other."""
        try:
            rundirs = self._store.list()
        except PdpanelError as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                self._tell(f"warning: runs without a runner could not be looked for: {error}")
            return
        self._trouble = ""
        known = {rundir.run_id for rundir in rundirs}
        self._cases = {run_id: case for run_id, case in self._cases.items() if run_id in known}
        for rundir in rundirs:
            try:
                self._look_at(rundir)
            except OSError as error:
                self._tell(f"warning: {rundir.run_id} could not be looked at: {error}")

    def notice(self, run_id: str) -> str:
        """Returns what is about to happen to a run without a runner, a part of a sentence."""
        case = self._cases.get(run_id)
        if case is None:
            return "the panel gives it a new one within seconds"
        times = "once" if case.tries == 1 else f"{case.tries} times"
        wait = max(1, round(case.due - self._clock()))
        why = case.problem or "that one ended too; the log named runner may say why"
        return f"it was given a new runner {times}: {why}; the next attempt is in about {wait} s"

    def _look_at(self, rundir: RunDir) -> None:
        now = self._clock()
        case = self._cases.get(rundir.run_id)
        record = read_record(rundir.state)
        if record is None:
            return
        if record.state in FINAL or record.left:
            self._cases.pop(rundir.run_id, None)
            return
        if rundir.is_supervised():
            if case is not None and now - case.at >= _WELL_S:
                del self._cases[rundir.run_id]
            return
        # It may have been stopped properly between the two looks.
        record = read_record(rundir.state)
        if record is None or record.state in FINAL or record.left or (case is not None and now < case.due):
            return
        problem = self._try(rundir.run_id)
        if problem is None:
            return
        tries = 1 if case is None else case.tries + 1
        pause = min(_LONGEST_S, LOOK_S * 2 ** min(tries - 1, 10))
        self._cases[rundir.run_id] = _Case(tries, now, now + pause, problem)

    def _try(self, run_id: str) -> str | None:
        """Adopts a run and returns why that failed; None where another panel was first, which notes it."""
        outcome, problem = "done", ""
        try:
            view = self._take_over(run_id)
            if view is None:
                return None
        except (PdpanelError, OSError) as error:
            outcome = problem = str(error).rstrip(".")
            self._tell(f"{run_id} could not be taken over: {error}")
        else:
            if view.state is RunState.STOPPED:
                outcome = f"nothing of it lived: {view.notice}"
            self._tell(f"{run_id} is {view.state}: {view.notice or 'it has a runner again'}")
        self._audit.record(Entry(time.time(), "panel", "", "adopt", run_id, outcome))
        return problem
