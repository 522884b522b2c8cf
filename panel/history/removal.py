"""Removes what an ended run has left on disk: all of it, or its logs or samples alone.

Never of a run that lives: the runner's lock is taken first, and /proc asked for processes that carry the run's id. A
directory is moved out of sight before its files go, so that an interrupted removal leaves no half of a run. Nothing
outside of the run's directory is touched: links are removed, never followed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...engine.errors import ConflictError, PdpanelError
from ..disk_use import bytes_of
from ..rundir import RunDir
from ..runner.lifecycle import FINAL
from ..runner.procfs import all_stats, variables
from ..runner.state import read_record
from ..unsupervised import without_runner

__all__ = ["TRASH", "log_files", "remove_files", "remove_parts", "remove_run", "sample_files"]

TRASH = "removed"
"""Where a run's directory lies while it is being removed, below the state directory."""


def remove_run(rundir: RunDir, state_dir: Path) -> int:
    """Removes all of an ended run and returns the bytes that this frees.

    Raises:
        ConflictError: something of the run lives.
        PdpanelError: the disk refuses.
    """
    with _held(rundir):
        size = bytes_of(rundir.path)
        trash = state_dir / TRASH
        try:
            trash.mkdir(mode=0o700, exist_ok=True)
            os.rename(rundir.path, trash / rundir.run_id)
            remove_files([trash / rundir.run_id])
        except OSError as error:
            raise PdpanelError(f"Run {rundir.run_id} cannot be removed: {error.strerror}.") from None
    return size


def remove_files(paths: list[Path]) -> int:
    """Removes files, links and folders, and returns the bytes that this frees; what is gone already is no error.

    Raises:
        OSError: the disk refuses.
    """
    freed = 0
    for path in paths:
        freed += bytes_of(path)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    return freed


def remove_parts(rundir: RunDir, paths: list[Path]) -> int:
    """Removes files of an ended run, and returns the bytes that this frees.

    Raises:
        ConflictError: something of the run lives.
        PdpanelError: the disk refuses.
    """
    with _held(rundir):
        try:
            return remove_files(paths)
        except OSError as error:
            problem = f"{error.filename} cannot be removed: {error.strerror}"
            raise PdpanelError(f"Of run {rundir.run_id} {problem}.") from None


def log_files(rundir: RunDir) -> list[Path]:
    """Returns the logs of a run's processes, and what is left of their beginnings."""
    return _inside(rundir.logs, "*.log")


def sample_files(rundir: RunDir) -> list[Path]:
    """Returns the files of a run's samples, those that were set aside too."""
    return _inside(rundir.path, f"{rundir.samples.name}*")


def _inside(folder: Path, pattern: str) -> list[Path]:
    return sorted(path for path in folder.glob(pattern) if path.is_symlink() or path.is_file())


@contextmanager
def _held(rundir: RunDir) -> Iterator[None]:
    """Holds the run's lock, so that no runner begins meanwhile."""
    if rundir.path.is_symlink():
        raise ConflictError("run", rundir.run_id, "is a link to another place", "remove what it leads to yourself")
    try:
        lock = rundir.take_lock()
    except OSError as error:
        raise PdpanelError(f"Run {rundir.run_id} cannot be locked: {error.strerror}.") from None
    if lock is None:
        raise ConflictError("run", rundir.run_id, "has a runner", "stop the run first")
    try:
        record = read_record(rundir.state)
        lives = record is not None and without_runner(record, rundir).state not in FINAL
        if lives or _bears(rundir.run_id):
            raise ConflictError("run", rundir.run_id, "has processes that live", "stop the run first")
        yield
    finally:
        os.close(lock)


def _bears(run_id: str) -> bool:
    """Returns True when some process of this host carries the run's id."""
    own = os.getpid()
    return any(
        stat.pid != own and variables(stat.pid, ("PDPANEL_RUN_ID",)).get("PDPANEL_RUN_ID") == run_id
        for stat in all_stats()
        if stat.alive
    )
