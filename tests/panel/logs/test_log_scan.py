from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.engine.errors import RequestError
from pdpanel.panel.logs.level import Level
from pdpanel.panel.logs.log_file import LogFile, open_log
from pdpanel.panel.logs.query import Query
from pdpanel.panel.logs.regex_child import search_expression
from pdpanel.panel.logs.rows import Row
from pdpanel.panel.logs.scan import Bounds, scan

WORDS = ["ERROR: it broke", "INFO: fine", "  a line of a traceback", "Needle", "needle in E1121 05:05:38.0 1 a] x", "é"]
SMALL = Bounds(hits=3, seconds=60, bytes=300)


def whole(file: LogFile, query: Query, *, backward: bool, bounds: Bounds) -> list[Row]:
    at = file.size if backward else 0
    rows: list[Row] = []
    for _ in range(10_000):
        found = scan(file, query, at, backward=backward, bounds=bounds)
        rows = [*found.rows, *rows] if backward else [*rows, *found.rows]
        if found.done:
            return rows
        assert found.at != at
        at = found.at
    raise AssertionError("the scan does not end")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scan") / "a.log"


@given(
    lines=st.lists(st.sampled_from(WORDS), max_size=60),
    text=st.sampled_from(["", "needle", "NEEDLE", "é", "É", "nowhere"]),
    case=st.booleans(),
    level=st.sampled_from([Level.NONE, Level.INFO, Level.ERROR]),
)
def test_steps_forward_and_back_find_what_one_look_finds(
    path: Path, lines: list[str], text: str, case: bool, level: Level
) -> None:
    path.write_text("".join(line + "\n" for line in lines))
    query = Query(text, case=case, level=level)
    with open_log(path) as file:
        at_once = scan(file, query, 0, bounds=Bounds(seconds=60))
        assert at_once.done
        matching = [line for line in lines if (text in line if case else text.lower() in line.lower())]
        if level is Level.NONE:
            assert [row.text for row in at_once.rows] == [line.rstrip() for line in matching]
        places = [row.at for row in at_once.rows]
        assert [row.at for row in whole(file, query, backward=False, bounds=SMALL)] == places
        assert [row.at for row in whole(file, query, backward=True, bounds=SMALL)] == places


def test_a_traceback_belongs_to_its_error(path: Path) -> None:
    path.write_text("INFO: a\nERROR: broken\n  File x\n  File y\nINFO: b\n  more of b\n")
    with open_log(path) as file:
        found = scan(file, Query(level=Level.ERROR), 0)
    assert [row.text for row in found.rows] == ["ERROR: broken", "  File x", "  File y"]


def test_what_is_found_is_what_is_shown(path: Path) -> None:
    """A search goes over the text that a person sees: not over colour codes, but across them."""
    path.write_bytes(b"\x1b[31mne\x1b[0medle\n")
    with open_log(path) as file:
        assert len(scan(file, Query("needle"), 0).rows) == 1
        assert len(scan(file, Query("31m"), 0).rows) == 0


def test_a_scan_is_bounded(path: Path) -> None:
    path.write_bytes(b"x" * 99 + b"\n" + (b"y" * 99 + b"\n") * 100_000)
    with open_log(path) as file:
        found = scan(file, Query("nowhere"), 0, bounds=Bounds(bytes=1 << 20))
        assert not found.done
        assert file.bytes_read < 3 << 20
        assert 1 << 20 <= found.at < 2 << 20


def test_expressions(path: Path) -> None:
    path.write_text("worker 12 died\nworker x lives\n")
    with open_log(path) as file:
        found = search_expression(file, Query(r"worker \d+", regex=True), 0, backward=False, bounds=Bounds())
        assert [row.text for row in found.rows] == ["worker 12 died"]
        with pytest.raises(RequestError, match="not a regular expression"):
            search_expression(file, Query("(", regex=True), 0, backward=False, bounds=Bounds())


def test_an_expression_that_never_ends_is_ended(path: Path) -> None:
    path.write_text("a" * 60 + "!\n")
    query = Query("(a+)+$", regex=True)
    with open_log(path) as file, pytest.raises(RequestError, match="takes too long"):
        search_expression(file, query, 0, backward=False, bounds=Bounds(), patience_s=1.0)


def test_a_query_that_is_too_long_is_refused(path: Path) -> None:
    path.write_text("x\n")
    with open_log(path) as file, pytest.raises(RequestError, match="at most 500"):
        scan(file, Query("x" * 501), 0)


def test_errors_are_looked_for_beyond_what_is_harmless(path: Path) -> None:
    harmless = "E1121 18:53:01.321669 1 transfer_metadata.cpp:1098] Local segment descriptor not found\n"
    path.write_text(f"INFO: a\n{harmless}more of it\nE1121 18:53:02.000000 1 a.cpp:1] broken\n{harmless}INFO: b\n")
    with open_log(path) as file:
        for level in (Level.ERROR, Level.WARNING):
            assert [row.text[-6:] for row in scan(file, Query(level=level), 0).rows] == ["broken"]
