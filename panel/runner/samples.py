"""The samples of a run: the last 15 minutes in memory; in SQLite an hour as sampled, a day of 10 s, 30 days of minutes.

`SampleStore` belongs to the runner, which must outlive a bad disk: rows that cannot be written wait in memory, and a
damaged file is set aside for a new one. Both are told once, as findings. `read_samples` and `read_range` serve clients
when there is no runner any more. Rows are numbered, so a client asks for what came after the last row that it knows.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ...nic_probe.finding import Finding
from .buckets import Bucket, BucketMaker
from .packing import Places
from .sample_file import IN_MEMORY, KEPT_ROWS, STEPS_S, BucketRow, Row, SampleFile, is_damage, open_to_read, set_aside
from .sample_range import RAW_STEP_S, SampleRange, read_stretch
from .series import SeriesInfo
from .storage_findings import samples_set_aside, samples_waiting

__all__ = ["RING_ROWS", "SampleBatch", "SampleRow", "SampleStore", "read_peaks", "read_range", "read_samples"]

RING_ROWS = 1800
_MOST_ROWS = 2000
_FAR_S = 1e11
_FLUSHES_PER_PRUNE = 12
_FLUSHES_PER_CHECK = 120
_FLUSHES_PER_TRY = 6


@dataclass(frozen=True, slots=True)
class SampleRow:
    """The values of one moment: `t` in unix seconds, `values` by series key; a missing key is a gap."""

    seq: int
    t: float
    values: dict[str, float]


@dataclass(frozen=True, slots=True)
class SampleBatch:
    """Rows after a given one, oldest first; ask next time with `last_seq` and `version`.

    Attributes:
        series: by key; none when `version` is the one that the caller knows.
        version: of the series: the same one for the same series.
    """

    last_seq: int
    series: dict[str, SeriesInfo]
    rows: list[SampleRow]
    version: str = ""


class SampleStore:
    """The rows of one run.

    Args:
        path: the file.
        series: what the values mean, by key; `learn` adds more.
        tell: takes a finding when something is wrong with the file, and None when rows are written again.
    """

    def __init__(
        self,
        path: Path,
        series: Mapping[str, SeriesInfo],
        tell: Callable[[Finding | None], None] = lambda finding: None,
    ) -> None:
        self._path = path
        self._tell = tell
        self._places = Places()
        self._ring: deque[Row] = deque(maxlen=RING_ROWS)
        self._rows: deque[Row] = deque(maxlen=KEPT_ROWS[0])
        self._buckets: dict[int, deque[BucketRow]] = {step_s: deque(maxlen=KEPT_ROWS[10]) for step_s in STEPS_S}
        self._makers = {step_s: BucketMaker(step_s) for step_s in STEPS_S}
        self._unwritten: list[tuple[int, SeriesInfo]] = []
        self._file: SampleFile | None = None
        self._flushes = 0
        self._failures = 0
        self._seq = 0
        with open_to_read(path) as found, suppress(sqlite3.Error, msgspec.MsgspecError):
            if found is not None:
                self._places = Places(found.series())
                self._seq = found.last_seq()
                self._go_on(found)
        self._try(self._open)
        self.learn(series.values())

    def learn(self, series: Iterable[SeriesInfo]) -> None:
        """Adds series, or says more of known ones."""
        self._unwritten += self._places.learn(series)

    def add(self, t: float, values: Mapping[str, float]) -> None:
        """Appends a row taken at unix time `t`; a series that nobody described is known by its key alone."""
        if unknown := self._places.unknown(values):
            self.learn(SeriesInfo(key, key, "", "") for key in unknown)
        self._seq += 1
        row = (self._seq, t, self._places.pack(values))
        self._ring.append(row)
        self._rows.append(row)
        self._collect(self._seq, t, values)

    def since(self, seq: int, known: str = "") -> SampleBatch:
        """Returns the rows in memory after row `seq`; all of them for a number of rows that are lost."""
        # Rows are consecutive, so the ones wanted are a suffix: no need to look at the others.
        count = min(len(self._ring), self._seq - seq if 0 <= seq <= self._seq else self._seq)
        rows = [self._unpacked(self._ring[index]) for index in range(len(self._ring) - count, len(self._ring))]
        return _batch(self._seq, self._places, rows, known)

    def range(self, from_s: float, to_s: float, most_rows: int = 1000, keys: Collection[str] = ()) -> SampleRange:
        """Returns the rows of a stretch of time at the finest resolution that holds it; see `read_stretch`.

        While the file takes no rows, what is in memory or, for a stretch before that, what the file has.
        """
        most_rows = max(1, min(most_rows, _MOST_ROWS))
        self._write()
        if self._file is not None and not self._rows:
            unfinished = {step_s: maker.so_far() for step_s, maker in self._makers.items()}
            try:
                return read_stretch(self._file, self._places, (from_s, to_s), most_rows, keys, unfinished)
            except sqlite3.Error as error:
                self._failed(error)
        held = min((row[1] for row in (*self._ring, *self._rows)), default=from_s)
        if from_s < held and (found := read_range(self._path, from_s, to_s, most_rows, keys)).rows:
            return found
        return self._range_in_memory(from_s, to_s, most_rows, keys)

    def flush(self) -> None:
        """Writes the new rows to the file, and now and then lets go of old ones and looks whether it is sound."""
        self._flushes += 1
        if self._failures and self._flushes % _FLUSHES_PER_TRY:
            return
        self._write()
        if self._flushes % _FLUSHES_PER_PRUNE == 0:
            self._try(lambda: self._file.prune() if self._file else None)
        if self._flushes % _FLUSHES_PER_CHECK == 0:
            self._try(lambda: self._file.check() if self._file else None)

    def close(self) -> None:
        """Writes what is left, unfinished buckets too, and closes the file."""
        for step_s, maker in self._makers.items():
            if (bucket := maker.taken()) is not None:
                self._keep(step_s, bucket)
        self._write()
        if self._file is not None:
            with suppress(sqlite3.Error):
                self._file.prune()
            self._file.close()
            self._file = None

    def _go_on(self, found: SampleFile) -> None:
        """Takes up where the runner before has left: the rows in memory, and the buckets that it did not end."""
        rows = found.rows_after(0, RING_ROWS)
        # `since` counts on rows that follow each other.
        first = self._seq - len(rows) + 1
        self._ring.extend(row for place, row in enumerate(rows) if row[0] == first + place)
        covered = {step_s: found.last_bucket(step_s) for step_s in STEPS_S}
        for seq, t, data in found.rows_after(min(covered.values()), KEPT_ROWS[0]):
            self._collect(seq, t, self._places.unpack(data), [step for step in STEPS_S if covered[step] < seq])

    def _collect(self, seq: int, t: float, values: Mapping[str, float], steps: Collection[int] = STEPS_S) -> None:
        for step_s in steps:
            if (bucket := self._makers[step_s].add(seq, t, values)) is not None:
                self._keep(step_s, bucket)

    def _keep(self, step_s: int, bucket: Bucket) -> None:
        data = self._places.pack_bucket(bucket.means, bucket.peaks)
        self._buckets[step_s].append((bucket.seq, bucket.t, bucket.rows, data))

    def _unpacked(self, row: Row) -> SampleRow:
        return SampleRow(row[0], row[1], self._places.unpack(row[2]))

    def _range_in_memory(self, from_s: float, to_s: float, most_rows: int, keys: Collection[str]) -> SampleRange:
        scratch = SampleFile(IN_MEMORY)
        try:
            held = {row[0]: row for row in (*self._ring, *self._rows)}
            scratch.write((), held.values(), self._buckets)
            unfinished = {step_s: maker.so_far() for step_s, maker in self._makers.items()}
            return read_stretch(scratch, self._places, (from_s, to_s), most_rows, keys, unfinished)
        except sqlite3.Error:
            return SampleRange(RAW_STEP_S, {}, [])
        finally:
            scratch.close()

    def _write(self) -> None:
        if self._file is None or not self._file.is_there():
            self._try(self._open)
        if self._file is None or not self._try(self._write_all):
            return
        self._unwritten.clear()
        self._rows.clear()
        for waiting in self._buckets.values():
            waiting.clear()
        if self._failures:
            self._failures = 0
            self._tell(None)

    def _write_all(self) -> None:
        assert self._file is not None
        self._file.write(self._unwritten, self._rows, self._buckets)

    def _open(self) -> None:
        """Opens the file; a new one gets what is still in memory of the one before."""
        self._close_quietly()
        file = SampleFile(self._path)
        known = file.series()
        ours = list(self._places.series.values())
        if [info.key for info in known] != [info.key for info in ours[: len(known)]]:
            file.close()
            raise sqlite3.DatabaseError("it holds other series")
        self._file = file
        if not known:
            self._unwritten = list(enumerate(ours))
            waiting = {row[0] for row in self._rows}
            self._rows.extendleft(row for row in reversed(self._ring) if row[0] not in waiting)

    def _try(self, work: Callable[[], None]) -> bool:
        try:
            work()
        except (sqlite3.Error, OSError, msgspec.MsgspecError) as error:
            self._failed(error)
            return False
        return True

    def _failed(self, error: Exception) -> None:
        self._close_quietly()
        if is_damage(error):
            try:
                moved = set_aside(self._path)
            except OSError as moving:
                error = moving
            else:
                self._tell(samples_set_aside(self._path, moved, str(error)))
                with suppress(sqlite3.Error, OSError):
                    self._open()
                    return
        self._failures += 1
        if self._failures == 1:
            self._tell(samples_waiting(self._path, str(error)))

    def _close_quietly(self) -> None:
        if self._file is not None:
            with suppress(sqlite3.Error):
                self._file.close()
            self._file = None


def _batch(seq: int, places: Places, rows: list[SampleRow], known: str) -> SampleBatch:
    version = places.version
    return SampleBatch(seq, {} if version == known else places.series, rows, version)


def read_samples(path: Path, seq: int, known: str = "") -> SampleBatch:
    """Returns up to 1800 of the last rows after row `seq` from the file at `path`; none without a file."""
    try:
        with open_to_read(path) as file:
            if file is None:
                return SampleBatch(seq, {}, [])
            places = Places(file.series())
            rows = [SampleRow(number, t, places.unpack(data)) for number, t, data in file.rows_after(seq, RING_ROWS)]
    except (sqlite3.Error, msgspec.MsgspecError):
        return SampleBatch(seq, {}, [])
    return _batch(rows[-1].seq if rows else seq, places, rows, known)


def read_range(
    path: Path, from_s: float, to_s: float, most_rows: int = 1000, keys: Collection[str] = ()
) -> SampleRange:
    """Returns the rows of a stretch of time from the file at `path`; none without a file. See `read_stretch`."""
    try:
        with open_to_read(path) as file:
            if file is not None:
                places = Places(file.series())
                return read_stretch(file, places, (from_s, to_s), max(1, min(most_rows, _MOST_ROWS)), keys)
    except (sqlite3.Error, msgspec.MsgspecError):
        pass
    return SampleRange(RAW_STEP_S, {}, [])


def read_peaks(path: Path) -> Iterator[Mapping[str, float]]:
    """Yields the peaks of every minute of the run, oldest first, and what is left of a minute that never ended."""
    try:
        with open_to_read(path) as file:
            if file is None:
                return
            places = Places(file.series())
            for *_, data in file.buckets_between(60, -_FAR_S, _FAR_S):
                yield places.unpack_bucket(data)[1]
            for *_, data in file.rows_after(file.last_bucket(60), KEPT_ROWS[0]):
                yield places.unpack(data)
    except (sqlite3.Error, msgspec.MsgspecError):
        return
