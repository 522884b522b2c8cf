"""One run as a notebook holds it: where it answers, how it is, and how to end it.

A client of the run's runner, as panel and command line are: it needs no panel process. Made by the handle's `deploy`.
"""

from __future__ import annotations

import time

from ...engine.errors import PdpanelError
from ..runner.journal import clean_line
from ..runner.lifecycle import ProcessState, RunState
from ..runs import Runs
from ..views import RunView
from .plain_errors import plain_errors
from .table import RunTable

__all__ = ["NotebookRun"]

_POLL_S = 0.2


class NotebookRun:
    """A run; everything about it is asked anew each time.

    Attributes:
        id: its id, as `pdpanel status` shows it.
    """

    def __init__(self, runs: Runs, run_id: str) -> None:
        self._runs = runs
        self.id = run_id

    @property
    def view(self) -> RunView:
        """All that is known of it now."""
        return self._runs.get(self.id)

    @property
    def state(self) -> str:
        """Its state, such as "ready"."""
        return str(self.view.state)

    @property
    def url(self) -> str:
        """Where its router takes requests, as `/v1/chat/completions` below it."""
        return self.view.router_url

    @plain_errors
    def wait(self) -> NotebookRun:
        """Waits until it is ready, and prints what happens; to interrupt this leaves the run as it is.

        Raises:
            PdpanelError: it failed, or was stopped.
        """
        shown: dict[str, str] = {}
        notice = ""
        try:
            while (view := self.view).state is RunState.STARTING:
                notice = self._print_news(view, shown, notice)
                time.sleep(_POLL_S)
        except KeyboardInterrupt:
            print(f"{self.id} goes on starting; .wait() waits for it again, .stop() ends it", flush=True)
            raise
        self._print_news(view, shown, notice)
        if view.state is not RunState.READY:
            raise PdpanelError(f"{self.id} is {view.state}: {_why(view)}.")
        print(f"{self.id} is ready: {view.router_url}", flush=True)
        return self

    @plain_errors
    def stop(self) -> NotebookRun:
        """Ends it; returns when its processes have ended and its ports are free.

        Raises:
            PdpanelError: something of it does not end.
        """
        view = self._runs.stop(self.id)
        if view.state is not RunState.STOPPED and view.notice:
            print(clean_line(view.notice), flush=True)
        return self

    def _print_news(self, view: RunView, shown: dict[str, str], notice: str) -> str:
        for process in view.processes:
            if process.state is not ProcessState.PENDING and shown.get(process.name) != process.state:
                shown[process.name] = process.state
                print(f"  {clean_line(process.name):<12} {process.state}", flush=True)
        # Its first words are the stage; what follows counts, and would fill the cell.
        stage = " ".join(clean_line(view.notice).split()[:2])
        if stage and stage != notice:
            print(f"  {clean_line(view.notice)}", flush=True)
        return stage

    def __repr__(self) -> str:
        return repr(RunTable([self.view]))

    def _repr_html_(self) -> str:
        return RunTable([self.view])._repr_html_()


def _why(view: RunView) -> str:
    for process in view.processes:
        if process.state is ProcessState.CRASHED:
            said = [f"{finding.reason} {finding.remedy}" for finding in process.findings[:1]]
            return clean_line(" ".join([f"{process.name} crashed: {process.reason}", *said])).rstrip(".")
    return clean_line(view.notice).rstrip(".") or "see its logs in the panel"
