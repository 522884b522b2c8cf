"""The records of runs that have ended, kept in memory: a look at hundreds of them twice a second reads no file again.

A record counts as the same while its file has the same inode, size and time of change; a run that is started again
writes a new file. Called by `run_store`.
"""

from __future__ import annotations

import os

from .rundir import RunDir
from .runner.lifecycle import RunState
from .runner.state import RunRecord, read_record

__all__ = ["EndedRecords"]

_Identity = tuple[int, int, int]
_MOST = 4096


class EndedRecords:
    """The records of ended runs by path, each with the file that it was read from."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[_Identity, RunRecord]] = {}

    def read(self, rundir: RunDir) -> RunRecord | None:
        """Returns the record in the run's file as `read_record` does; of an ended run the same object each time."""
        path = rundir.state
        name = os.fspath(path)
        try:
            status = os.stat(name)
        except OSError:
            self._known.pop(name, None)
            return None
        identity = (status.st_ino, status.st_size, status.st_mtime_ns)
        known = self._known.get(name)
        if known is not None and known[0] == identity:
            return known[1]
        record = read_record(path)
        if record is not None and record.state is RunState.STOPPED:
            # Those whose directories are gone take the room of those that are there, until all are read anew.
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[name] = (identity, record)
        else:
            self._known.pop(name, None)
        return record
