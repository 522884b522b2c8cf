"""The summary of one ended run: read from `summary.json`, or made from its record, samples and journal.

The runner writes it when its run ends; for a run whose runner died, the first reader does. A summary that is older than
the record, as after a resumed run has ended again, is made anew.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import msgspec

from ..disk_use import bytes_of
from ..rundir import RunDir
from ..runner.samples import read_peaks
from ..runner.state import RunRecord
from .summary import RunSummary, peaks_of, summarize

__all__ = ["count_crashes", "summary_of", "write_summary"]

_MOST_JOURNAL_BYTES = 32 << 20
_CRASH = b'"after":"crashed"'


class _Kept(msgspec.Struct):
    stamp: str
    summary: RunSummary


def summary_of(rundir: RunDir, record: RunRecord) -> RunSummary:
    """Returns what an ended run came to; keeps it for the next time where the disk allows."""
    stamp = _stamp(record)
    try:
        kept = msgspec.json.decode(rundir.summary.read_bytes(), type=_Kept)
    except (OSError, msgspec.MsgspecError):
        kept = None
    if kept is None or kept.stamp != stamp:
        kept = _Kept(stamp, _made(rundir, record))
        with suppress(OSError):
            rundir.write(rundir.summary, msgspec.json.encode(kept))
    return replace(kept.summary, bytes_on_disk=bytes_of(rundir.path))


def write_summary(rundir: RunDir, record: RunRecord) -> None:
    """Makes the summary and keeps it; a disk that does not take it is no error."""
    with suppress(OSError):
        rundir.write(rundir.summary, msgspec.json.encode(_Kept(_stamp(record), _made(rundir, record))))


def count_crashes(rundir: RunDir) -> int:
    """Returns how often the run's journal says that a process crashed."""
    count = 0
    with suppress(OSError), rundir.runner_log.open("rb") as file:
        rest = _MOST_JOURNAL_BYTES
        while rest > 0 and (line := file.readline(rest)):
            rest -= len(line)
            count += b'"event":"state"' in line and _CRASH in line
    return count


def _made(rundir: RunDir, record: RunRecord) -> RunSummary:
    peaks = peaks_of(read_peaks(rundir.samples))
    return summarize(record, peaks, count_crashes(rundir), rundir.last_sign())


def _stamp(record: RunRecord) -> str:
    """Returns what changes when the run's end does."""
    return f"{record.state} {record.ended_at} {record.resumed_at} {len(record.processes)}"
