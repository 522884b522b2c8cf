"""Attached runs over the real runs: the `Attachments` of the Attach form.

Only translation. Called from worker threads by `attach_routes`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..attach.findings import explain_logs
from ..attach.found_results import FoundLog, FoundResults
from ..attach.request import AttachRequest, WantedWorker
from ..doctor_text import finding_json
from ..launch import Role
from ..proof.keep import key_of_run
from ..runs import Runs
from .attach_port import AttachForm

__all__ = ["RunsAttachments"]


class RunsAttachments:
    """The `Attachments` over a `Runs`."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self._results = FoundResults(lambda run_id: runs.plan(run_id), lambda run_id, name: runs.log_path(run_id, name))

    def attach(self, form: AttachForm) -> str:
        """Begins to watch a deployment and returns the run's id."""
        request = AttachRequest(
            name=form.name,
            router=form.router,
            workers=tuple(WantedWorker(one.url, Role(one.role) if one.role else None) for one in form.workers),
            api_key=form.api_key,
            log_folder=form.log_folder,
            logs=tuple(form.logs),
        )
        return self._runs.attach(request).id

    def found_results(self, run_id: str) -> Sequence[FoundLog]:
        """Returns the logs of an attached run that hold results of benchmarks."""
        return self._results.list(run_id)

    def results_in(self, run_id: str, log: str) -> Sequence[Mapping[str, Any]]:
        """Returns the results in one of them."""
        return self._results.entries(run_id, log)

    def key_for(self, run_id: str, url: str) -> str:
        """Returns the API key of an attached run where it was given for the host of `url`, else nothing."""
        return key_of_run(self._runs, run_id).text_for(url)

    def findings(self, run_id: str) -> Mapping[str, object]:
        """Returns what all logs of a run say together."""
        plan = self._runs.plan(run_id)
        found = explain_logs({spec.name: self._runs.log_path(run_id, spec.name) for spec in plan.processes})
        return {"findings": [finding_json(finding) for finding in found.findings], "notes": list(found.notes)}
