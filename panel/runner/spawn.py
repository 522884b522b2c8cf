"""Starts a run's runner so that it outlives whoever started it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

from ..rundir import RunDir

__all__ = ["spawn_runner"]


def spawn_runner(rundir: RunDir, lock: int | None = None, python: str = sys.executable) -> subprocess.Popen[bytes]:
    """Starts the runner of `rundir` in a session of its own and returns without waiting for it.

    Its output goes to `runner.log`. A thread collects its exit, so that it never stays behind as a zombie.

    Args:
        rundir: the run.
        lock: a descriptor that holds the run's lock, which becomes the runner's: there is no moment at which nobody
            holds it. The caller closes its own copy afterwards.
        python: the interpreter.
    """
    handed = () if lock is None else (lock,)
    descriptor = os.open(rundir.runner_log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        popen = subprocess.Popen(
            [python, "-m", "pdpanel.panel.runner", str(rundir.path), *map(str, handed)],
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=subprocess.STDOUT,
            cwd=rundir.path,
            start_new_session=True,
            pass_fds=handed,
        )
    finally:
        os.close(descriptor)
    threading.Thread(target=popen.wait, name=f"runner {rundir.run_id}", daemon=True).start()
    return popen
