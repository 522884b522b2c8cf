"""Attached runs of the simulated source: real checks and a real runner, below a folder of the test."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pdpanel.engine.errors import ConfigError
from pdpanel.panel.attach.found_results import FoundLog
from pdpanel.panel.attach.request import AttachRequest, WantedWorker
from pdpanel.panel.launch import Role
from pdpanel.panel.load.imported import imported_entries
from pdpanel.panel.web.attach_port import AttachForm

__all__ = ["SERVING", "SimulatedAttachments"]

SERVING = """============ Serving Benchmark Result ============
Successful requests:                     {number}0
Benchmark duration (s):                  2.00
Request throughput (req/s):              {number}.50
Output token throughput (tok/s):         45{number}.00
Mean TTFT (ms):                          20.50
==================================================
"""


class SimulatedAttachments:
    """An `Attachments` that checks the form as the real one does, and adds a simulated run.

    Args:
        start: adds the run of a form and returns its id.
    """

    def __init__(self, start: Callable[[AttachForm], str]) -> None:
        self._start = start

    def attach(self, form: AttachForm) -> str:
        AttachRequest(
            name=form.name,
            router=form.router,
            workers=tuple(WantedWorker(one.url, Role(one.role) if one.role else None) for one in form.workers),
            api_key=form.api_key,
            log_folder=form.log_folder,
            logs=tuple(form.logs),
        )
        if "silent" in form.router:
            raise ConfigError("router", form.router, "does not answer", "start it")
        return self._start(form)

    def found_results(self, run_id: str) -> Sequence[FoundLog]:
        return [FoundLog(run_id, "sweep-concurrency", "made_CONCURRENCY.log", 2)]

    def results_in(self, run_id: str, log: str) -> Sequence[Mapping[str, Any]]:
        rows = "\n".join(SERVING.format(number=number) for number in (1, 2))
        return imported_entries(rows.encode(), "made_CONCURRENCY.log", time.time())

    def key_for(self, run_id: str, url: str) -> str:
        return ""

    def findings(self, run_id: str) -> Mapping[str, object]:
        return {"findings": [], "notes": [f"The logs of {run_id} are simulated."]}
