"""What the process of a benchmark does: runs the load of its directory and saves the result, whatever it came to.

Knows nothing of who started it; `__main__` calls it. SIGTERM and SIGINT end the load, and what was measured so far is
saved. An error that a person can understand is saved as the result's note.
"""

from __future__ import annotations

import asyncio
import signal
import time
from typing import Any

import msgspec

from ...engine.errors import PdpanelError
from .client import allow_connections, open_session
from .driver import measure
from .jobdir import JobDir
from .result import PROGRESS_COLUMNS, Progress
from .server import learn
from .spec import LoadSpec
from .store import Entry, LoadStore, load_entry, thinned

__all__ = ["run_load", "unfinished_entry"]


def run_load(jobdir: JobDir, job: dict[str, Any], api_key: str) -> None:
    """Runs the job and saves its entry; raises OSError when it cannot be saved."""
    entry = asyncio.run(_measured(jobdir, job, api_key))
    LoadStore(jobdir.store_folder).save(entry)


async def _measured(jobdir: JobDir, job: dict[str, Any], api_key: str) -> Entry:
    spec = msgspec.convert(job["spec"], LoadSpec)
    rows: list[list[float | None]] = []
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    def tell(progress: Progress) -> None:
        if not rows:
            jobdir.tell({"phase": "measuring"})
        rows.append(progress.row())
        jobdir.tell(rows[-1])

    allow_connections(spec.concurrency or spec.requests or 1024)
    jobdir.tell({"phase": "preparing"})
    try:
        async with open_session(api_key) as session:
            asked = asyncio.create_task(learn(session, spec))
            stopped = asyncio.create_task(stop.wait())
            await asyncio.wait({asked, stopped}, return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            if not asked.done():
                asked.cancel()
                await asyncio.gather(asked, return_exceptions=True)
                return unfinished_entry(job, "stopped", "It was stopped before the first request.", rows)
            served = asked.result()
            jobdir.tell({"phase": "warming up" if spec.warmup else "measuring"})
            result = await measure(session, spec, served, stop, tell)
    except PdpanelError as error:
        return unfinished_entry(job, "failed", str(error), rows)
    return load_entry(job["id"], spec, result, rows, name=job["name"], labels=job["labels"])


def unfinished_entry(job: dict[str, Any], state: str, note: str, rows: list[list[float | None]]) -> Entry:
    """Returns the entry of a job without a result.

    Args:
        job: as it was asked.
        state: failed, stopped or died.
        note: why, in one sentence.
        rows: the samples so far.
    """
    return {
        "version": 1,
        **job.get("labels", {}),
        "id": job["id"],
        "name": job["name"],
        "kind": job["kind"],
        "state": state,
        "created_at": job["created_at"],
        "ended_at": time.time(),
        "model": job["spec"].get("model", ""),
        "arrival": job.get("arrival", ""),
        "spec": job["spec"],
        "columns": {},
        "curves": {},
        "row_columns": list(PROGRESS_COLUMNS),
        "rows": thinned(rows),
        "errors": [],
        "cut": 0,
        "notes": [note],
    }
