"""The samples of a run: the last 15 minutes in memory, the last hour in SQLite.

`SampleStore` belongs to the runner; `read_samples` serves clients when there is no runner any more. Rows are
numbered, so a client asks for what came after the last row that it knows.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import msgspec

from .series import SeriesInfo

__all__ = ["RING_ROWS", "SampleBatch", "SampleRow", "SampleStore", "read_samples"]

RING_ROWS = 1800
_KEPT_ROWS = 7200
_SCHEMA = """
create table if not exists series
    (key text primary key, title text, unit text, source text, process text) without rowid;
create table if not exists samples(seq integer primary key, t real not null, vals text not null);
"""


@dataclass(frozen=True, slots=True)
class SampleRow:
    """The values of one moment: `t` in unix seconds, `values` by series key; a missing key is a gap."""

    seq: int
    t: float
    values: dict[str, float]


@dataclass(frozen=True, slots=True)
class SampleBatch:
    """Rows after a given one, oldest first; ask next time with `last_seq`."""

    last_seq: int
    series: dict[str, SeriesInfo]
    rows: list[SampleRow]


class SampleStore:
    """The rows of one run."""

    def __init__(self, path: Path, series: Mapping[str, SeriesInfo]) -> None:
        self._series = dict(series)
        self._ring: deque[SampleRow] = deque(maxlen=RING_ROWS)
        self._unwritten: list[SampleRow] = []
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.execute("pragma journal_mode=wal")
        self._database.execute("pragma synchronous=normal")
        self._database.executescript(_SCHEMA)
        self._database.executemany(
            "insert or replace into series values (?,?,?,?,?)",
            [(info.key, info.title, info.unit, info.source, info.process) for info in self._series.values()],
        )
        (last,) = self._database.execute("select coalesce(max(seq), 0) from samples").fetchone()
        self._seq = int(last)

    def add(self, t: float, values: dict[str, float]) -> None:
        """Appends a row taken at unix time `t`."""
        self._seq += 1
        row = SampleRow(self._seq, t, values)
        self._ring.append(row)
        self._unwritten.append(row)

    def since(self, seq: int) -> SampleBatch:
        """Returns the rows in memory after row `seq`."""
        # Rows are consecutive, so the ones wanted are a suffix: no need to look at the others.
        count = min(len(self._ring), max(0, self._seq - seq))
        rows = [self._ring[index] for index in range(len(self._ring) - count, len(self._ring))]
        return SampleBatch(self._seq, self._series, rows)

    def flush(self) -> None:
        """Writes the new rows to the file, and lets go of those older than an hour."""
        rows = [(row.seq, row.t, msgspec.json.encode(row.values).decode()) for row in self._unwritten]
        self._unwritten.clear()
        self._database.execute("begin")
        self._database.executemany("insert into samples values (?,?,?)", rows)
        self._database.execute("delete from samples where seq <= ?", (self._seq - _KEPT_ROWS,))
        self._database.execute("commit")

    def close(self) -> None:
        """Writes what is left and closes the file."""
        self.flush()
        self._database.close()


def read_samples(path: Path, seq: int) -> SampleBatch:
    """Returns up to 1800 of the last rows after row `seq` from the file at `path`; none without a file."""
    if not path.exists():
        return SampleBatch(seq, {}, [])
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=2.0)) as database:
            series = {row[0]: SeriesInfo(*row) for row in database.execute("select * from series")}
            found = database.execute(
                "select seq, t, vals from samples where seq > ? order by seq desc limit ?", (seq, RING_ROWS)
            ).fetchall()
    except sqlite3.Error:
        return SampleBatch(seq, {}, [])
    rows = [
        SampleRow(number, t, msgspec.json.decode(text, type=dict[str, float])) for number, t, text in reversed(found)
    ]
    return SampleBatch(rows[-1].seq if rows else seq, series, rows)
