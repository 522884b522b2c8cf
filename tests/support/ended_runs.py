"""Directories of runs that have ended, made by hand: no process is started."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from pdpanel.panel.launch import Role
from pdpanel.panel.rundir import RunDir
from pdpanel.panel.runner.lifecycle import ProcessState, RunState
from pdpanel.panel.runner.procfs import boot_id
from pdpanel.panel.runner.samples import SampleStore
from pdpanel.panel.runner.series import SeriesInfo
from pdpanel.panel.runner.state import ProcessRecord, RunRecord, encode_record

__all__ = ["CREATED_S", "make_run", "record_of"]

CREATED_S = 1_750_000_020.0
_KEYS = ("run/kv_bytes_per_s", "run/generated_tokens_per_s", "run/running", "proc/p/rss_bytes", "proc/d/rss_bytes")


def record_of(run_id: str, **changes: object) -> RunRecord:
    """Returns the record of a run that was stopped after two minutes."""
    processes = tuple(
        ProcessRecord(name, role, {"http": 1}, f"{name}.log", 1.0, ProcessState.STOPPED)
        for name, role in (("p", Role.PREFILL), ("d", Role.DECODE), ("r", Role.ROUTER))
    )
    record = RunRecord(
        id=run_id,
        name="pd",
        state=RunState.STOPPED,
        created_at=CREATED_S,
        host="127.0.0.1",
        router_url="http://127.0.0.1:1",
        model="SmolLM2-135M-Instruct",
        transport="tcp",
        boot_id=boot_id(),
        processes=processes,
        ended_at=CREATED_S + 120,
    )
    return replace(record, **changes)  # type: ignore[arg-type]


def make_run(state_dir: Path, run_id: str, *, samples: int = 240, **changes: object) -> RunDir:
    """Makes a run's directory, with logs and samples of a load that grows, and returns it."""
    rundir = RunDir(state_dir / "runs" / run_id)
    rundir.create()
    record = record_of(run_id, **changes)
    rundir.write(rundir.deployment, b"name: pd\nmodel: SmolLM2-135M-Instruct\n")
    rundir.write(rundir.state, encode_record(record))
    for process in record.processes:
        (rundir.logs / process.log).write_bytes(b"started\n" * 1000)
    rundir.runner_log.write_bytes(b'{"t":1.0,"event":"state","process":"p","before":"ready","after":"crashed"}\n' * 2)
    if samples:
        store = SampleStore(rundir.samples, {key: SeriesInfo(key, key, "B", "test") for key in _KEYS})
        for n in range(samples):
            store.add(CREATED_S + n / 2, dict.fromkeys(_KEYS, float(n)))
        store.close()
    for path in (rundir.state, rundir.samples, rundir.runner_log, *rundir.logs.iterdir()):
        if path.exists():
            os.utime(path, (CREATED_S + 130, CREATED_S + 130))
    return rundir
