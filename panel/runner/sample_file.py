"""The SQLite file of a run's samples: rows as sampled, and buckets of ten seconds and of a minute.

Owns the schema and how long each resolution is kept; knows bytes and numbers, not what series mean. Every method may
raise sqlite3.Error: `is_damage` tells a file that is broken from a disk that does not take anything now.
`runner.samples` writes it, `runner.sample_range` reads it.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from .series import SeriesInfo

__all__ = [
    "IN_MEMORY",
    "KEPT_ROWS",
    "STEPS_S",
    "BucketRow",
    "Row",
    "SampleFile",
    "is_damage",
    "open_to_read",
    "set_aside",
]

IN_MEMORY = Path(":memory:")
STEPS_S = (10, 60)
# An hour of two rows a second, a day of ten seconds, thirty days of minutes. Counted, since a clock may jump.
KEPT_ROWS: Mapping[int, int] = {0: 7200, 10: 8640, 60: 43200}
_FORMAT = 2
_MOST_SET_ASIDE = 9
_SCHEMA = """
create table if not exists series(place integer primary key, info text not null);
create table if not exists samples(seq integer primary key, t real not null, vals blob not null);
create index if not exists samples_by_time on samples(t);
create table if not exists means10(seq integer primary key, t real not null, n integer not null, vals blob not null);
create index if not exists means10_by_time on means10(t);
create table if not exists means60(seq integer primary key, t real not null, n integer not null, vals blob not null);
create index if not exists means60_by_time on means60(t);
"""
_DAMAGE = frozenset({sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_SIDE_FILES = ("", "-wal", "-shm")

Row = tuple[int, float, bytes]
"""Number, unix seconds, packed values."""

BucketRow = tuple[int, float, int, bytes]
"""Number of the last row, unix seconds, count of rows, packed means and peaks."""


class SampleFile:
    """An open file of samples.

    Args:
        path: where it is; made when it is not there.
        read_only: True for a client, which changes nothing.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._path = path
        if read_only:
            self._database = _connected_to_read(path)
            return
        self._database = sqlite3.connect(path, isolation_level=None)
        try:
            self._database.execute("pragma journal_mode=wal")
            self._database.execute("pragma synchronous=normal")
            (version,) = self._database.execute("pragma user_version").fetchone()
            if version < _FORMAT:
                self._database.executescript("drop table if exists series; drop table if exists samples;")
                self._database.executescript(f"{_SCHEMA} pragma user_version={_FORMAT};")
            elif version > _FORMAT:
                raise sqlite3.DatabaseError(f"format {version} is not known")
            self.check()
            self._identity = self._look()
        except BaseException:
            self._database.close()
            raise

    def check(self) -> None:
        """Reads the whole structure through a connection of its own, which has nothing in memory.

        Raises:
            sqlite3.DatabaseError: the file is damaged.
        """
        fresh = sqlite3.connect(self._path)
        try:
            (said,) = fresh.execute("pragma quick_check(1)").fetchone()
        finally:
            fresh.close()
        if said != "ok":
            raise sqlite3.DatabaseError(str(said))

    def is_there(self) -> bool:
        """Returns False when the file was removed, replaced or cut since it was opened."""
        try:
            device, inode, size = self._look()
        except OSError:
            return False
        before = self._identity
        self._identity = (device, inode, max(size, before[2]))
        return (device, inode) == before[:2] and size >= before[2]

    def _look(self) -> tuple[int, int, int]:
        if self._path == IN_MEMORY:
            return 0, 0, 0
        status = os.stat(self._path)
        return status.st_dev, status.st_ino, status.st_size

    def series(self) -> list[SeriesInfo]:
        """Returns the series in the order of their places."""
        found = self._database.execute("select info from series order by place")
        return [msgspec.json.decode(info, type=SeriesInfo) for (info,) in found]

    def is_known(self) -> bool:
        """Returns True when the file has the format of this version."""
        return bool(self._database.execute("pragma user_version").fetchone()[0] == _FORMAT)

    def last_seq(self) -> int:
        """Returns the number of the last row that was ever written, 0 for none."""
        query = "select max(coalesce((select max(seq) from samples), 0), coalesce((select max(seq) from means60), 0))"
        return int(self._database.execute(query).fetchone()[0])

    def rows_after(self, seq: int, most: int) -> list[Row]:
        """Returns up to `most` of the last rows after `seq`, oldest first."""
        query = "select seq, t, vals from samples where seq > ? order by seq desc limit ?"
        return self._database.execute(query, (seq, most)).fetchall()[::-1]

    def last_bucket(self, step_s: int) -> int:
        """Returns the number of the last row that a bucket covers."""
        return int(self._database.execute(f"select coalesce(max(seq), 0) from means{step_s}").fetchone()[0])

    def oldest(self, step_s: int) -> float | None:
        """Returns the oldest time that a resolution holds, 0 being the rows as sampled; None when it is empty."""
        (found,) = self._database.execute(f"select min(t) from {_table(step_s)}").fetchone()
        return None if found is None else float(found)

    def span(self, step_s: int, from_s: float, to_s: float) -> tuple[int, float]:
        """Returns how many rows a resolution has in a stretch of time, and how many seconds lie between them."""
        query = f"select count(*), coalesce(max(t) - min(t), 0) from {_table(step_s)} where t between ? and ?"
        count, seconds = self._database.execute(query, (from_s, to_s)).fetchone()
        return int(count), float(seconds)

    def rows_between(self, from_s: float, to_s: float) -> Iterator[Row]:
        """Yields the rows as sampled in a stretch of time, by time."""
        query = "select seq, t, vals from samples where t between ? and ? order by t, seq"
        yield from self._database.execute(query, (from_s, to_s))

    def buckets_between(self, step_s: int, from_s: float, to_s: float) -> Iterator[BucketRow]:
        """Yields the buckets of a resolution in a stretch of time, by time."""
        query = f"select seq, t, n, vals from means{step_s} where t between ? and ? order by t, seq"
        yield from self._database.execute(query, (from_s, to_s))

    def write(
        self,
        series: Iterable[tuple[int, SeriesInfo]],
        rows: Iterable[Row],
        buckets: Mapping[int, Iterable[BucketRow]],
    ) -> None:
        """Writes all of it or nothing."""
        database = self._database
        database.execute("begin immediate")
        try:
            database.executemany(
                "insert or replace into series values (?,?)",
                ((place, msgspec.json.encode(info).decode()) for place, info in series),
            )
            database.executemany("insert or replace into samples values (?,?,?)", rows)
            for step_s, found in buckets.items():
                database.executemany(f"insert or replace into means{step_s} values (?,?,?,?)", found)
            database.execute("commit")
        except BaseException:
            # Where the disk is full, SQLite may have ended the transaction itself.
            with suppress(sqlite3.Error):
                database.execute("rollback")
            raise

    def prune(self) -> None:
        """Lets go of what is older than is kept."""
        for step_s, kept in KEPT_ROWS.items():
            table = _table(step_s)
            oldest = f"(select seq from {table} order by seq desc limit 1 offset {kept - 1})"
            self._database.execute(f"delete from {table} where seq < {oldest}")

    def close(self) -> None:
        """Closes the file."""
        self._database.close()


def _connected_to_read(path: Path) -> sqlite3.Connection:
    try:
        return _connected(path, "mode=ro")
    except sqlite3.OperationalError:
        # On a read-only disk SQLite cannot make the files beside it that it wants; then nobody writes either.
        return _connected(path, "immutable=1")


def _connected(path: Path, mode: str) -> sqlite3.Connection:
    database = sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True, timeout=2.0)
    try:
        database.execute("pragma user_version").fetchone()
    except BaseException:
        database.close()
        raise
    return database


def _table(step_s: int) -> str:
    return f"means{step_s}" if step_s else "samples"


@contextmanager
def open_to_read(path: Path) -> Iterator[SampleFile | None]:
    """Yields the file at `path` for reading; None when there is none, or none that this version can read.

    Errors of SQLite inside of the context end it in silence: what could be read until then is what there is.
    """
    try:
        file = SampleFile(path, read_only=True) if path.exists() else None
        if file is not None and not file.is_known():
            file.close()
            file = None
    except (sqlite3.Error, OSError):
        file = None
    try:
        yield file
    finally:
        if file is not None:
            file.close()


def is_damage(error: Exception) -> bool:
    """Returns True when a file is no good any more, False when the disk does not take or give anything now."""
    if not isinstance(error, sqlite3.Error):
        return isinstance(error, msgspec.MsgspecError)
    code = getattr(error, "sqlite_errorcode", None)
    # Errors without a code are those of `SampleFile` itself.
    return isinstance(error, sqlite3.DatabaseError) and (code is None or code & 0xFF in _DAMAGE)


def set_aside(path: Path) -> Path:
    """Moves a damaged file out of the way, to `NAME.corrupt-N`, and returns where it is now.

    Raises:
        OSError: it cannot be moved.
    """
    number = next(
        (one for one in range(1, _MOST_SET_ASIDE) if not os.path.lexists(f"{path}.corrupt-{one}")), _MOST_SET_ASIDE
    )
    target = Path(f"{path}.corrupt-{number}")
    for side in _SIDE_FILES:
        with suppress(FileNotFoundError):
            os.replace(f"{path}{side}", f"{target}{side}")
    return target
