"""Where the logs of a run lie, by the names that people use: its processes, those that were removed, runner and model.

Reads the run's record alone; opens no log. `panel.runs` calls.
"""

from __future__ import annotations

from pathlib import Path

from ..engine.errors import NotFoundError
from .launch import LaunchPlan
from .rundir import RunDir
from .runner.state import MODEL_STEP, read_record

__all__ = ["log_of"]


def log_of(rundir: RunDir, plan: LaunchPlan, name: str) -> Path:
    """Returns the log of a process of `plan`, of a removed one, of "runner", or of "model" (its preparation).

    Raises:
        NotFoundError: the run has no log of that name.
    """
    record = read_record(rundir.state)
    logs = {} if record is None else {old: rundir.logs / log for old, log in record.removed.items()}
    logs |= {spec.name: rundir.logs / spec.log for spec in plan.processes}
    logs |= {"runner": rundir.runner_log, MODEL_STEP: rundir.logs / f"{MODEL_STEP}.log"}
    if name not in logs:
        raise NotFoundError("log", name, "is not part of this run", f"name one of {', '.join(logs)}")
    return logs[name]
