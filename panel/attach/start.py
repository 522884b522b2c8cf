"""Makes an attached run: its directory, the links to its logs, its key, and a runner that watches.

Called by `panel.runs`; from then on the run is one like any other, but for its runner, which starts and ends nothing.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace

from ..launch import encode_plan
from ..run_start import await_runner, held_lock
from ..run_store import RunStore
from ..rundir import RunDir, new_run_id
from ..runner.procfs import boot_id
from ..runner.spawn import spawn_runner
from ..runner.state import RunRecord, encode_record, initial_record
from .discover import discover
from .fetch import Fetch
from .key_file import encode_key, key_file, key_of
from .log_files import find_logs
from .plan import attached_plan
from .request import AttachRequest

__all__ = ["attach_run"]

_NO_LOG = "[pdpanel] {url} was attached by its URL: its log lies elsewhere; attach the file to see it here.\n"


def attach_run(store: RunStore, request: AttachRequest, now: float, webhook: str = "") -> tuple[RunDir, RunRecord]:
    """Begins to watch a deployment, and returns its run as the runner tells it.

    Args:
        store: all runs.
        request: what to watch.
        now: unix seconds.
        webhook: the URL that hears of crashes; empty for none.

    Raises:
        ConfigError: something of it cannot be watched.
        PeerError: the runner did not come up.
    """
    logs = find_logs(request.log_folder, request.logs)
    key = key_of(request)
    found = asyncio.run(discover(request, Fetch(key)))
    made = attached_plan(request.name, found, logs)
    rundir = store.new(new_run_id(request.name, now))
    rundir.create()
    with held_lock(rundir) as lock:
        assert lock is not None  # Nobody knows of the directory yet.
        rundir.write(rundir.plan, encode_plan(made.plan))
        if webhook:
            rundir.write(rundir.webhook, webhook.encode())
        if request.api_key:
            rundir.write(key_file(rundir), encode_key(key))
        for spec in made.plan.processes:
            log = rundir.logs / spec.log
            if spec.name in made.links:
                os.symlink(made.links[spec.name], log)
            else:
                rundir.write(log, _NO_LOG.format(url=spec.ready.url.removesuffix("/health")).encode())
        record = initial_record(rundir.run_id, made.plan, now, boot_id())
        if found.notes:
            record = replace(record, notice=f"When it was attached: {' '.join(found.notes)}")
        rundir.write(rundir.state, encode_record(record))
        runner = spawn_runner(rundir, lock)
    return rundir, await_runner(rundir, runner)
