"""`python -m pdpanel.panel.runner RUN_DIR`: the process that supervises one run.

Started detached by `runner.spawn`; holds the directory's lock as long as it lives. Imports neither torch nor
gradio.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from ...engine.errors import PdpanelError
from ..config import inherited_environment
from ..launch import decode_plan
from ..rundir import RunDir
from .journal import Journal
from .lifecycle import FINAL
from .sampler import Sampler
from .samples import SampleStore
from .series import known_series
from .server import serve
from .state import decode_record
from .supervisor import Supervisor

__all__ = ["main"]

_LOCK_TIMEOUT_S = 0.5


async def _run(rundir: RunDir, journal: Journal) -> None:
    plan = decode_plan(rundir.plan.read_bytes())
    record = decode_record(rundir.state.read_bytes())
    if record.state in FINAL:
        journal.say("problem", text=f"{rundir.run_id} has ended already.")
        return
    supervisor = Supervisor(rundir, plan, record, inherited_environment(), journal)
    store = SampleStore(rundir.samples, known_series(plan))
    sampler = Sampler(plan, store, supervisor.watched)
    supervisor.use = lambda: sampler.latest
    loop = asyncio.get_running_loop()
    stops: set[asyncio.Task[None]] = set()

    def on_signal() -> None:
        stops.add(asyncio.ensure_future(supervisor.stop(lambda text: None)))

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    try:
        async with serve(rundir, supervisor, store):
            tasks = [asyncio.create_task(supervisor.start()), asyncio.create_task(sampler.run())]
            ended = asyncio.create_task(supervisor.ended.wait())
            pending: set[asyncio.Task[object]] = {ended, *tasks}  # type: ignore[assignment]
            while not ended.done():
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
    finally:
        store.close()


def _lock(rundir: RunDir) -> int | None:
    # A client that looks whether there is a runner holds the lock for an instant.
    deadline = time.monotonic() + _LOCK_TIMEOUT_S
    while (lock := rundir.try_lock()) is None and time.monotonic() < deadline:
        time.sleep(0.005)
    return lock


def main() -> int:
    """Supervises the run in the directory that is named on the command line; returns the exit code."""
    journal = Journal()
    if len(sys.argv) != 2 or not (path := Path(sys.argv[1])).is_absolute():
        print("usage: python -m pdpanel.panel.runner RUN_DIR (absolute)", file=sys.stderr)
        return 2
    rundir = RunDir(path)
    try:
        lock = _lock(rundir)
        if lock is None:
            journal.say("problem", text=f"Another runner supervises {rundir.run_id} already.")
            return 1
        journal.say("runner", run=rundir.run_id)
        asyncio.run(_run(rundir, journal))
        journal.say("end", run=rundir.run_id)
    except (PdpanelError, OSError, msgspec.MsgspecError) as error:
        journal.say("problem", text=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
