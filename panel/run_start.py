"""Hands runs to runners: a fresh one, one that lost its runner, one that has ended and is to run again.

Whoever starts a runner holds the run's lock until the runner has it, so two who try at the same time cannot both
succeed, and a starter that is killed leaves the run free. `panel.runs` calls; `panel.runner` does the rest.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from ..engine.errors import ConfigError, ConflictError, PeerError
from .launch import LaunchPlan, decode_plan, encode_plan
from .ports import is_free, port_holder
from .run_store import RunStore
from .rundir import RunDir
from .runner import protocol
from .runner.client import ask
from .runner.journal import tail_lines
from .runner.lifecycle import FINAL
from .runner.procfs import boot_id
from .runner.spawn import spawn_runner
from .runner.state import RunRecord, encode_record, initial_record, resumed_record
from .unsupervised import end_unsupervised, without_runner

__all__ = ["adopt_run", "await_runner", "create_run", "held_lock", "resume_run", "stop_without_runner", "take_over_run"]

_START_TIMEOUT_S = 20.0
_POLL_S = 0.01


def create_run(
    store: RunStore, rundir: RunDir, launch: LaunchPlan, deployment: str, now: float, webhook: str = ""
) -> RunRecord:
    """Writes a fresh run's directory, starts its runner, and returns what that answers; only within one start.

    `webhook` is the URL that hears of crashes.

    Raises:
        PeerError: the runner did not come up.
    """
    rundir.create()
    with held_lock(rundir) as lock:
        assert lock is not None  # Nobody knows of the directory yet.
        rundir.write(rundir.deployment, deployment.encode())
        rundir.write(rundir.plan, encode_plan(launch))
        _write_files(rundir, launch)
        if webhook:
            rundir.write(rundir.webhook, webhook.encode())
        record = initial_record(rundir.run_id, launch, now, boot_id())
        rundir.write(rundir.state, encode_record(record))
        _promise_ports(store, rundir, launch)
        runner = spawn_runner(rundir, lock)
    return await_runner(rundir, runner)


def adopt_run(store: RunStore, rundir: RunDir) -> RunRecord:
    """Starts a runner for a run that has lost its own, and returns what it answers.

    A run of which nothing lives is ended instead: its record says so from then on. One that has a runner by now is left
    to that.

    Raises:
        ConflictError: the run has ended.
        PeerError: the runner did not come up.
    """
    taken = take_over_run(store, rundir)
    if taken is not None:
        return taken
    record = store.record(rundir)
    if record.state in FINAL and not rundir.is_supervised():
        remedy = f"start it again with `pdpanel up --resume {rundir.run_id}`"
        raise ConflictError("run", rundir.run_id, f"has ended: it is {record.state}", remedy)
    return await_runner(rundir)


def take_over_run(store: RunStore, rundir: RunDir) -> RunRecord | None:
    """Does what `adopt_run` does; None where somebody else has given the run a runner, or ended it, by now.

    Raises:
        PeerError: the runner did not come up.
    """
    with held_lock(rundir) as lock:
        if lock is None:
            return None
        record = store.record(rundir)
        if record.state in FINAL:
            return None
        if without_runner(record, rundir).state in FINAL:
            # What is left has lost those that led it; it would hold ports and memory for nobody.
            ended = end_unsupervised(record, rundir, lambda text: None)
            rundir.write(rundir.state, encode_record(ended))
            return ended
        runner = spawn_runner(rundir, lock)
    return await_runner(rundir, runner)


def stop_without_runner(store: RunStore, rundir: RunDir, tell: Callable[[str], None]) -> RunRecord | None:
    """Ends what is left of a run; None if there is a runner after all, or will be in a moment."""
    with held_lock(rundir) as lock:
        if lock is None:
            return None
        record = store.record(rundir)
        ended = end_unsupervised(record, rundir, tell)
        if ended != record:
            rundir.write(rundir.state, encode_record(ended))
    return ended


def resume_run(store: RunStore, rundir: RunDir, check: Callable[[LaunchPlan], None]) -> RunRecord:
    """Starts an ended run again in its directory, by its own plan, and returns what its runner answers.

    Args:
        store: all runs.
        rundir: the one.
        check: raises ConfigError when the plan cannot be started on this host.

    Raises:
        ConflictError: it has not ended.
        ConfigError: one of its ports is taken, or `check` says so.
        PeerError: the runner did not come up.
    """
    with held_lock(rundir) as lock:
        record = store.record(rundir)
        if lock is None:
            if record.state not in FINAL:
                raise ConflictError("run", rundir.run_id, f"is {record.state}", "restart it, or stop it first")
            return ask(rundir, protocol.RestartRun(), _START_TIMEOUT_S).run or record  # It failed, its runner waits.
        if without_runner(record, rundir).state not in FINAL:
            remedy = f"take it over with `pdpanel adopt --run {rundir.run_id}`"
            raise ConflictError("run", rundir.run_id, "has processes that live", remedy)
        launch = decode_plan(rundir.plan.read_bytes())
        if launch.leaving:  # A change of the plan was under way when the host or the runner ended.
            left = tuple(spec for spec in launch.processes if spec.name not in launch.leaving)
            launch = replace(launch, processes=left, leaving=())
            rundir.write(rundir.plan, encode_plan(launch))
        if not launch.attached:  # else it is watched again
            _check_ports(store, launch)
            check(launch)
            _write_files(rundir, launch)
        resumed = resumed_record(record, launch, time.time(), boot_id())
        rundir.write(rundir.state, encode_record(resumed))
        _promise_ports(store, rundir, launch)
        runner = spawn_runner(rundir, lock)
    return await_runner(rundir, runner)


def await_runner(rundir: RunDir, runner: subprocess.Popen[bytes] | None = None) -> RunRecord:
    """Returns the record as the run's runner tells it, once it answers.

    Args:
        rundir: the run.
        runner: the runner, where it is a child of this process.

    Raises:
        PeerError: it did not come up.
    """
    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
        try:
            record = ask(rundir, protocol.GetStatus()).run
            assert record is not None
            return record
        except PeerError:
            living = rundir.is_supervised() if runner is None else runner.poll() is None
            if living and time.monotonic() < deadline:
                time.sleep(_POLL_S)
                continue
            said = " ".join(tail_lines(rundir.runner_log, 1))
            raise PeerError(f"The runner of {rundir.run_id} did not come up: {said or 'it is silent'}.") from None


@contextmanager
def held_lock(rundir: RunDir) -> Iterator[int | None]:
    """Holds the run's lock while the context is entered; yields None when somebody else has it."""
    lock = rundir.take_lock()
    try:
        yield lock
    finally:
        if lock is not None:
            os.close(lock)


def _write_files(rundir: RunDir, launch: LaunchPlan) -> None:
    for file in launch.files:
        target = rundir.path / file.path
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        rundir.write(target, file.text.encode())


def _promise_ports(store: RunStore, rundir: RunDir, launch: LaunchPlan) -> None:
    if not launch.attached:  # the ports of others are theirs
        store.promises.make(rundir, [port for spec in launch.processes for port in spec.ports.values()])


def _check_ports(store: RunStore, launch: LaunchPlan) -> None:
    promised = store.promised_ports()
    for spec in launch.processes:
        for purpose, port in spec.ports.items():
            if port in promised:
                holder = f"belongs to the run {promised[port]}"
                remedy = f"stop that run with `pdpanel down --run {promised[port]}`"
            elif not is_free(launch.host, port):
                holder = f"is held by {port_holder(port)}"
                remedy = "end that process"
            else:
                continue
            remedy += ", or start the deployment as a new run, which chooses free ports"
            raise ConfigError(f"{spec.name}.ports.{purpose}", port, holder, remedy)
