from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.nic_probe.finding import Finding
from pdpanel.panel.runner import samples as samples_module
from pdpanel.panel.runner.sample_file import SampleFile
from pdpanel.panel.runner.samples import RING_ROWS, SampleStore, read_range, read_samples
from pdpanel.panel.runner.series import SeriesInfo

A = SeriesInfo("a", "A", "B", "test", "p", group="memory", total=True, limit=5e9)
B = SeriesInfo("b", "B", "%", "test")
INFO = {"a": A}
NOON = 1_700_000_040.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "samples.sqlite"


@pytest.fixture
def told() -> list[Finding | None]:
    return []


@pytest.fixture
def store(path: Path, told: list[Finding | None]) -> Iterator[SampleStore]:
    store = SampleStore(path, INFO, told.append)
    yield store
    store.close()


def fill(store: SampleStore, count: int, start: float = NOON, step: float = 0.5) -> None:
    for n in range(count):
        store.add(start + n * step, {"a": float(n)})


def table(path: Path, query: str) -> list[tuple[int, ...]]:
    database = sqlite3.connect(path)
    try:
        return database.execute(query).fetchall()
    finally:
        database.close()


def test_a_client_gets_the_rows_that_it_does_not_know(store: SampleStore) -> None:
    fill(store, 5)
    batch = store.since(3)
    assert [(row.seq, row.values) for row in batch.rows] == [(4, {"a": 3.0}), (5, {"a": 4.0})]
    assert (batch.last_seq, batch.series) == (5, INFO)
    assert store.since(5).rows == []
    assert len(store.since(-7).rows) == 5


def test_a_number_from_before_the_rows_were_lost_counts_as_none(store: SampleStore) -> None:
    fill(store, 5)
    assert len(store.since(99).rows) == 5


def test_memory_keeps_fifteen_minutes_and_the_file_an_hour(store: SampleStore, path: Path) -> None:
    for _ in range(73):
        fill(store, 100)
        store.flush()
    assert len(store.since(0).rows) == RING_ROWS
    assert read_samples(path, 0) == store.since(0)
    store.close()
    assert table(path, "select min(seq), max(seq), count(*) from samples") == [(101, 7300, 7200)]


def test_numbers_rows_and_buckets_go_on_where_the_file_ends(path: Path) -> None:
    """A runner that was killed has not ended its buckets: the next one makes them from the rows."""
    store = SampleStore(path, INFO)
    fill(store, 30)
    store.flush()
    # Nothing is closed: as after kill -9.
    again = SampleStore(path, INFO)
    assert again.since(0) == store.since(0)
    again.add(NOON + 15, {"a": 30.0})
    again.close()
    assert [row.seq for row in read_samples(path, 29).rows] == [30, 31]
    assert table(path, "select seq, n from means10 order by seq") == [(20, 20), (31, 11)]
    assert table(path, "select seq, n from means60") == [(31, 31)]


def test_no_file_a_broken_one_or_one_of_another_format_has_no_rows(path: Path) -> None:
    assert read_samples(path, 3).rows == []
    assert read_range(path, 0, 9).rows == []
    path.write_bytes(b"not a database" * 100)
    assert read_samples(path, 3).last_seq == 3
    assert read_range(path, 0, 9).rows == []
    path.unlink()
    database = sqlite3.connect(path)
    database.executescript("create table samples(x); pragma user_version=99;")
    database.close()
    assert read_samples(path, 3).rows == []


def test_a_file_of_the_format_before_is_begun_anew(path: Path, told: list[Finding | None]) -> None:
    database = sqlite3.connect(path)
    database.executescript("create table series(key text primary key, title text); create table samples(seq, t, vals)")
    database.close()
    store = SampleStore(path, INFO, told.append)
    fill(store, 3)
    store.close()
    assert len(read_samples(path, 0).rows) == 3
    assert told == []


def test_what_is_known_of_a_series_is_kept_and_new_ones_find_their_place(store: SampleStore, path: Path) -> None:
    fill(store, 1)
    store.learn([B])
    store.add(NOON + 1, {"b": 2.0, "c": 3.0, "a": math.nan})
    store.flush()
    batch = read_samples(path, 0)
    assert batch.series == {"a": A, "b": B, "c": SeriesInfo("c", "c", "", "")}
    assert [row.values for row in batch.rows] == [{"a": 0.0}, {"b": 2.0, "c": 3.0}], "a gap stays a gap"


def test_a_window_is_shown_as_finely_as_it_fits(store: SampleStore, path: Path) -> None:
    fill(store, 7200)
    end = NOON + 3600
    raw = store.range(end - 60, end)
    assert (raw.step_s, len(raw.rows), raw.rows[-1].values, raw.rows[-1].peaks) == (0.5, 120, {"a": 7199.0}, {})
    tens = store.range(NOON, end)
    assert (tens.step_s, len(tens.rows)) == (10.0, 360)
    assert (tens.rows[0].values, tens.rows[0].peaks) == ({"a": 9.5}, {"a": 19.0})
    minutes = store.range(NOON, end, 60)
    assert (minutes.step_s, len(minutes.rows), minutes.rows[0].peaks) == (60.0, 60, {"a": 119.0})
    coarse = store.range(NOON, end, 7)
    assert coarse.step_s == 540.0 and 7 <= len(coarse.rows) <= 8
    assert max(row.peaks["a"] for row in coarse.rows) == 7199.0
    store.close()
    assert read_range(path, NOON, end, 60) == minutes
    assert read_range(path, end - 60, end) == raw


def test_a_window_older_than_the_rows_is_shown_by_minutes(store: SampleStore) -> None:
    fill(store, 120 * 150)
    store.close()
    found = read_range(store._path, NOON, NOON + 60 * 150)
    assert found.step_s == 10.0, "what was sampled two hours ago is there in tens"
    assert found.rows[0].t < NOON + 10


def test_a_window_can_be_asked_for_some_series_alone(store: SampleStore) -> None:
    store.add(NOON, {"a": 1.0, "b": 2.0})
    found = store.range(NOON, NOON + 1, keys=["b", "unknown"])
    assert ([row.values for row in found.rows], list(found.series)) == ([{"b": 2.0}], ["b"])


def test_a_window_may_reach_far_beyond_the_rows(store: SampleStore) -> None:
    fill(store, 7200)
    found = store.range(-1e300, 1e300, 30)
    assert (found.step_s, len([row for row in found.rows if row.values])) == (120.0, 30)
    assert store.range(NOON + 9, NOON).rows == []


def test_a_pause_is_a_gap_in_every_resolution(store: SampleStore) -> None:
    fill(store, 240)
    fill(store, 240, NOON + 600)
    for most_rows in (1000, 100, 20):
        rows = store.range(NOON, NOON + 900, most_rows).rows
        empty = [row for row in rows if not row.values]
        assert len(empty) == 1 and NOON + 120 < empty[0].t < NOON + 600


@pytest.mark.parametrize("jump_s", [-86400.0, -3.0, 86400.0 * 400])
def test_a_clock_that_jumps_loses_nothing(store: SampleStore, path: Path, jump_s: float) -> None:
    fill(store, 300)
    fill(store, 300, NOON + 150 + jump_s)
    store.flush()
    assert [row.seq for row in store.since(0).rows] == list(range(1, 601))
    store.close()
    assert table(path, "select count(*) from samples") == [(600,)]
    assert table(path, "select sum(n) from means10") == table(path, "select sum(n) from means60") == [(600,)]
    everything = read_range(path, NOON - 1e6, NOON + 1e9)
    assert sum(1 for row in everything.rows if row.values) == 600


@given(st.lists(st.tuples(st.floats(-50, 50), st.sampled_from(["a", "b", "ab", ""])), min_size=1, max_size=60))
def test_whatever_the_clock_does_every_row_is_in_one_bucket(
    tmp_path_factory: pytest.TempPathFactory, beats: list[tuple[float, str]]
) -> None:
    path = tmp_path_factory.mktemp("samples") / "s.sqlite"
    store = SampleStore(path, INFO)
    t = NOON
    for step, keys in beats:
        t += step
        store.add(t, dict.fromkeys(keys, step))
    store.close()
    for step_s in (10, 60):
        assert table(path, f"select sum(n), max(seq) from means{step_s}") == [(len(beats), len(beats))]
    found = [row for row in read_range(path, NOON - 1e6, NOON + 1e6, 2000).rows if row.values]
    assert len(found) == sum(1 for _, keys in beats if keys)


def test_a_damaged_file_is_set_aside_at_the_start(path: Path, told: list[Finding | None]) -> None:
    path.write_bytes(b"\0garbage" * 1000)
    store = SampleStore(path, INFO, told.append)
    fill(store, 3)
    store.close()
    assert len(read_samples(path, 0).rows) == 3
    assert (path.parent / "samples.sqlite.corrupt-1").read_bytes() == b"\0garbage" * 1000
    assert [finding and finding.id for finding in told] == ["samples-set-aside"]


def test_a_file_that_is_damaged_while_the_run_goes_on_is_set_aside(
    store: SampleStore, path: Path, told: list[Finding | None]
) -> None:
    """The new file begins with what is in memory, and clients see no break."""
    for _ in range(20):
        fill(store, 100)
        store.flush()
    table(path, "pragma wal_checkpoint(truncate)")
    with path.open("r+b") as file:
        file.seek(0)
        file.write(b"\xff" * path.stat().st_size)
    for _ in range(120):
        store.flush()
    assert [finding and finding.id for finding in told] == ["samples-set-aside"]
    fill(store, 1)
    store.flush()
    assert store.since(1999).last_seq == 2001
    assert [row.seq for row in read_samples(path, 2000).rows] == [2001]
    assert table(path, "select min(seq) from samples") == [(2000 - RING_ROWS + 1,)]


def test_each_damaged_file_is_kept_up_to_a_few(path: Path) -> None:
    for _ in range(12):
        path.write_bytes(b"x" * 5000)
        SampleStore(path, INFO).close()
    assert len(list(path.parent.glob("*.corrupt-*"))) == 9


@pytest.mark.parametrize("harm", ["removed", "emptied"])
def test_a_file_that_somebody_took_away_is_begun_anew(store: SampleStore, path: Path, harm: str) -> None:
    fill(store, 40)
    store.flush()
    if harm == "removed":
        path.unlink()
    else:
        path.write_bytes(b"")
    fill(store, 1)
    store.flush()
    assert len(read_samples(path, 0).rows) == 41


class FullDisk(SampleFile):
    """A file on a disk that takes nothing while `full` lies beside it."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._flag = path.parent / "full"
        super().__init__(path, read_only=read_only)

    def write(self, *args: object) -> None:  # type: ignore[override]
        if self._flag.exists():
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error
        super().write(*args)  # type: ignore[arg-type]


def test_a_full_disk_is_told_once_and_written_to_when_there_is_room(
    path: Path, told: list[Finding | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples_module, "SampleFile", FullDisk)
    store = SampleStore(path, INFO, told.append)
    full = path.parent / "full"
    full.touch()
    for _ in range(30):
        fill(store, 10)
        store.flush()
    assert [finding and finding.id for finding in told] == ["samples-not-written"]
    assert len(store.since(0).rows) == 300
    assert read_samples(path, 0).rows == []
    full.unlink()
    for _ in range(6):
        store.flush()
    assert told[1:] == [None]
    assert len(read_samples(path, 0).rows) == 300
    store.close()
    assert table(path, "select sum(n) from means60") == [(300,)]


def test_a_file_that_cannot_be_made_is_told_and_the_rows_are_served_from_memory(
    tmp_path: Path, told: list[Finding | None]
) -> None:
    folder = tmp_path / "missing"
    store = SampleStore(folder / "s.sqlite", INFO, told.append)
    fill(store, 30)
    store.flush()
    assert [finding and finding.id for finding in told] == ["samples-not-written"]
    assert len(store.range(NOON, NOON + 60).rows) == 30
    assert store.range(NOON, NOON + 60, 10).step_s == 10.0
    folder.mkdir()
    for _ in range(6):
        store.flush()
    assert told[1:] == [None]
    assert len(read_samples(folder / "s.sqlite", 0).rows) == 30
    store.close()


def test_series_are_left_out_where_they_are_known(tmp_path: Path) -> None:
    path = tmp_path / "samples.sqlite"
    store = SampleStore(path, {"a": SeriesInfo("a", "A", "B", "test")})
    store.add(1.0, {"a": 1.0})
    first = store.since(0)
    assert first.series and first.version
    again = store.since(0, first.version)
    assert (again.series, again.rows, again.version) == ({}, first.rows, first.version)
    store.add(2.0, {"a": 1.0, "b": 2.0})
    more = store.since(1, first.version)
    assert more.version != first.version and set(more.series) == {"a", "b"}
    store.close()
    # Whoever reads the file has the same versions.
    assert read_samples(path, 0).version == more.version
    assert read_samples(path, 2, more.version).series == {}
