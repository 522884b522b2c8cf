"""What `launch` returns: the panel's address, and runs to deploy, look at and stop.

The panel itself is another process (`hosted`); runs are asked through their runners, so that they can be used when it
is closed. Each action is in the audit log, as those of panel and command line.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from ...engine.errors import ConfigError
from ..audit import Audit, Entry, local_user
from ..config import PanelConfig
from ..hosted.opening import OpenPanel
from ..runner.lifecycle import FINAL
from ..runs import Runs
from ..start.consent import commands_text, needs_consent
from ..views import RunView
from .plain_errors import plain_errors
from .run import NotebookRun
from .table import RunTable
from .wanted import Source, read_wanted

__all__ = ["NotebookPanel"]

_SHOWN_RUNS = 20


class NotebookPanel:
    """A panel that this notebook has opened.

    Args:
        config: its folders.
        opened: its process, and this notebook's lease on it.
    """

    def __init__(self, config: PanelConfig, opened: OpenPanel) -> None:
        self._config = config
        self._opened = opened
        self._runs = Runs(config)

    @property
    def url(self) -> str:
        """An address for a browser; each one opens the panel once, within ten minutes."""
        return plain_errors(self._opened.page_url)()

    @plain_errors
    def deploy(
        self, deployment: Source = None, /, *, wait: bool = True, yes: bool = False, **fields: object
    ) -> NotebookRun:
        """Starts a deployment and waits until it is ready.

        `deploy()`, `deploy(model="…", prefill=2, decode=1, transport="tcp")`, `deploy("a preset", port=8100)`,
        `deploy("my.yaml")`.

        Args:
            deployment: a preset's name, a file, YAML, fields, or a Deployment; without it, a small model.
            wait: return when it is ready; otherwise as soon as it starts.
            yes: start the commands that a file brings.
            **fields: what to change in it.

        Raises:
            PdpanelError: it makes no sense, cannot be started here, or failed.
        """
        wanted, source = read_wanted(deployment, fields, self._config.config_dir)
        if source and needs_consent(wanted) and not self._runs.consents.given(wanted):
            if not yes:
                print(f"{source} would start:\n{commands_text(self._runs.preview(wanted))}", flush=True)
                raise ConfigError("yes", False, f"is needed: {source} brings commands of its own", "add yes=True")
            self._runs.consents.give(wanted)
        outcome = "failed"
        run_id = wanted.name
        try:
            run_id = self._runs.start(wanted).id
            outcome = "done"
        finally:
            self._note("start", run_id, outcome)
        run = NotebookRun(self._runs, run_id)
        return run.wait() if wait else run

    @plain_errors
    def status(self) -> RunTable:
        """Returns a table of the runs that go on."""
        views = self._runs.list()
        active = _active(views)
        return RunTable(active[:_SHOWN_RUNS], len(views) - len(active))

    @plain_errors
    def stop(self, run: NotebookRun | str | None = None) -> NotebookRun:
        """Ends a run: the one given, by id or by name, else the only one that goes on.

        Raises:
            PdpanelError: there is no such run, or none or several go on, or something of it does not end.
        """
        wanted = run.id if isinstance(run, NotebookRun) else run
        found = NotebookRun(self._runs, _find(self._runs.list(), wanted).id)
        outcome = "failed"
        try:
            found.stop()
            outcome = "done"
        finally:
            self._note("stop", found.id, outcome)
        return found

    @plain_errors
    def close(self) -> None:
        """Ends the panel, unless another notebook or window uses it; runs go on."""
        ended = self._opened.close()
        active = _active(self._runs.list())
        print("The panel has ended." if ended else "The panel stays: another launch() or window uses it.", flush=True)
        if active:
            goes = "1 run goes on" if len(active) == 1 else f"{len(active)} runs go on"
            print(f"{goes}: {', '.join(run.id for run in active)}; .stop() ends one.", flush=True)

    def _note(self, action: str, subject: str, outcome: str) -> None:
        Audit(self._config.state_dir).record(Entry(time.time(), local_user(), "notebook", action, subject, outcome))

    def __repr__(self) -> str:
        where = self._opened.record.address if self._opened.is_open else "closed"
        return f"<pdpanel in a notebook: {where}, runs in {self._config.state_dir}>"


def _active(views: Sequence[RunView]) -> list[RunView]:
    return [view for view in views if view.state not in FINAL]


def _find(views: Sequence[RunView], text: str | None) -> RunView:
    active = _active(views)
    if text is None:
        if len(active) == 1:
            return active[0]
        names = ", ".join(view.id for view in active)
        problem = f"{len(active)} runs go on" if active else "no run goes on"
        raise ConfigError("run", None, problem, f"name one of {names}" if active else "there is nothing to stop")
    for view in [*views, *active]:
        if text in (view.id, view.name) and (text == view.id or view in active):
            return view
    raise ConfigError("run", text, "is not a run that goes on", "give an id that .status() shows")
