"""`python -m pdpanel.panel.runner RUN_DIR [LOCK]`: the process that supervises one run.

Started detached by `runner.spawn`, which hands it the directory's lock as descriptor LOCK; holds that as long as it
lives. Imports neither torch nor gradio.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ...engine.errors import PdpanelError
from ..attach.key_file import read_key
from ..config import inherited_environment, read_config
from ..launch import LaunchPlan, decode_plan
from ..rundir import RunDir
from ..webhook.notify import watching
from .journal import Journal
from .lifecycle import FINAL
from .log_cap import LogCap
from .procfs import boot_id
from .sampler import Sampler
from .samples import SampleStore
from .series import gpu_memory_series
from .server import serve
from .sources import Sources, sources_of
from .state import RunRecord, decode_record
from .supervision import Supervision
from .supervisor import Supervisor
from .upkeep import Upkeep

if TYPE_CHECKING:
    from ..simulate.simulation import Simulation

__all__ = ["main"]


async def _run(rundir: RunDir, journal: Journal) -> None:
    plan = decode_plan(rundir.plan.read_bytes())
    record = decode_record(rundir.state.read_bytes())
    if record.state in FINAL:
        journal.say("problem", text=f"{rundir.run_id} has ended already.")
        return
    if record.boot_id != boot_id():
        journal.say("problem", text=f"{rundir.run_id} was ended by a restart of this host.")
        return
    supervisor = _supervision(rundir, plan, record, journal)
    logs = LogCap(rundir.logs, read_config().log_bytes, (rundir.runner_log,))
    upkeep = Upkeep(logs, journal, supervisor.save_if_due)
    supervisor.storage = lambda: (*upkeep.findings, *sampler.findings().values())
    simulation = _simulation(rundir) if plan.simulated else None
    environ = inherited_environment()
    loop = asyncio.get_running_loop()

    def on_gpu_sizes(sizes: Mapping[str, float]) -> None:
        infos = [gpu_memory_series(gpu, size) for gpu, size in sizes.items()]
        loop.call_soon_threadsafe(lambda: store.learn(infos))

    def looked_up(of: LaunchPlan) -> Sources:
        return sources_of(
            of,
            rundir,
            environ,
            simulation=simulation,
            latest=lambda: sampler.latest,
            on_gpu_sizes=on_gpu_sizes,
        )

    sources = looked_up(plan)
    store = SampleStore(rundir.samples, sources.series, upkeep.on_samples)
    sampler = Sampler(plan, store, supervisor.watched, sources.followed, read_key(rundir).headers)
    supervisor.use = lambda: sampler.latest

    async def replanned(changed: LaunchPlan) -> None:
        # Asks drivers, which may take their time.
        found = await asyncio.to_thread(looked_up, changed)
        store.learn(found.series.values())
        sampler.replan(changed, found.followed)

    supervisor.replanned = replanned
    stops: set[asyncio.Task[None]] = set()

    def on_signal() -> None:
        stops.add(asyncio.ensure_future(supervisor.stop(lambda text: None)))

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    try:
        told = watching(rundir.webhook, lambda: supervisor.record, journal)
        async with serve(rundir, supervisor, store), told:
            tasks = [asyncio.create_task(work) for work in (supervisor.start(), sampler.run(), upkeep.run())]
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
    if supervisor.record.state in FINAL:
        from ..history.ended_run import write_summary  # only here: every start would wait for it

        write_summary(rundir, supervisor.record)


def _supervision(rundir: RunDir, plan: LaunchPlan, record: RunRecord, journal: Journal) -> Supervision:
    if not plan.attached:
        return Supervisor(rundir, plan, record, inherited_environment(), journal)
    from .watcher import Watcher  # only here: every start would wait for it

    return Watcher(rundir, plan, record, journal)


def _simulation(rundir: RunDir) -> Simulation | None:
    from ..simulate.simulation import simulation_of  # only here: every start would wait for it

    return simulation_of(rundir.path.parent.parent)


def _lock(rundir: RunDir, handed: str) -> int | None:
    if handed.isdigit() and rundir.is_lock(int(handed)):
        os.set_inheritable(int(handed), False)
        return int(handed)
    return rundir.take_lock()


def main() -> int:
    """Supervises the run in the directory that is named on the command line; returns the exit code."""
    journal = Journal()
    if len(sys.argv) not in {2, 3} or not (path := Path(sys.argv[1])).is_absolute():
        print("usage: python -m pdpanel.panel.runner RUN_DIR [LOCK] (absolute)", file=sys.stderr)
        return 2
    rundir = RunDir(path)
    try:
        lock = _lock(rundir, sys.argv[2] if len(sys.argv) > 2 else "")
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
