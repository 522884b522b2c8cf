from __future__ import annotations

from pathlib import Path

from pdpanel.panel.runner.samples import RING_ROWS, SampleStore, read_samples
from pdpanel.panel.runner.series import SeriesInfo

INFO = {"a": SeriesInfo("a", "A", "B", "test", "p")}


def test_a_client_gets_the_rows_that_it_does_not_know(tmp_path: Path) -> None:
    store = SampleStore(tmp_path / "s.sqlite", INFO)
    for n in range(5):
        store.add(float(n), {"a": float(n)})
    batch = store.since(3)
    assert [row.seq for row in batch.rows] == [4, 5]
    assert (batch.last_seq, batch.series) == (5, INFO)
    assert store.since(5).rows == [] and store.since(99).rows == []
    assert len(store.since(-7).rows) == 5
    store.close()


def test_memory_keeps_fifteen_minutes_and_the_file_an_hour(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    store = SampleStore(path, INFO)
    for n in range(7300):
        store.add(float(n), {"a": float(n)})
    assert len(store.since(0).rows) == RING_ROWS
    store.flush()
    assert read_samples(path, 0).rows[0].seq == 7300 - RING_ROWS + 1
    assert read_samples(path, 0) == store.since(0)
    store.close()
    import sqlite3

    database = sqlite3.connect(path)
    assert database.execute("select min(seq), max(seq), count(*) from samples").fetchone() == (
        101,
        7300,
        7200,
    )
    database.close()


def test_numbers_go_on_where_the_file_ends(tmp_path: Path) -> None:
    for _ in range(2):
        store = SampleStore(tmp_path / "s.sqlite", INFO)
        store.add(0.0, {"a": 1.0})
        store.close()
    assert [row.seq for row in read_samples(tmp_path / "s.sqlite", 0).rows] == [1, 2]


def test_no_file_or_a_broken_one_has_no_rows(tmp_path: Path) -> None:
    assert read_samples(tmp_path / "none", 3).rows == []
    (tmp_path / "broken").write_bytes(b"not a database" * 100)
    assert read_samples(tmp_path / "broken", 3).last_seq == 3
