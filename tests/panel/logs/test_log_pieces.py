from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.panel.logs.log_file import open_log
from pdpanel.panel.logs.pieces import BLOCK, LONGEST_PIECE, pieces_in
from pdpanel.panel.logs.rows import begin_of, pieces_between, rows_after, rows_around, rows_before

# Lines around the lengths at which cuts begin.
LINES = st.lists(
    st.sampled_from([0, 1, 80, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK - 1, 2 * BLOCK, 5 * BLOCK + 7]), max_size=7
)


def content(lengths: list[int], end: bool) -> bytes:
    data = b"".join(b"x" * length + b"\n" for length in lengths)
    return data if end else data[:-1]


@given(LINES, st.booleans())
def test_pieces_are_the_whole_text_and_bounded(lengths: list[int], end: bool) -> None:
    data = content(lengths, end)
    pieces = list(pieces_in(data, 0))
    assert b"".join(piece.data + b"\n" * piece.whole for piece in pieces) == data
    assert [piece.at for piece in pieces[1:]] == [piece.end for piece in pieces[:-1]]
    assert all(piece.end - piece.at <= LONGEST_PIECE for piece in pieces)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pieces") / "a.log"


@given(lengths=LINES, end=st.booleans(), where=st.integers(0, 12 * BLOCK))
def test_every_way_into_a_file_finds_the_same_pieces(scratch: Path, lengths: list[int], end: bool, where: int) -> None:
    """From above, from the middle and from below: a row stands at the same place, so that none is shown twice."""
    data = content(lengths, end)
    scratch.write_bytes(data)
    with open_log(scratch) as file:
        known = {piece.at: piece for piece in pieces_in(data, 0)}
        begin = begin_of(file, min(where, len(data)))
        assert begin in known or begin == len(data)
        for piece in pieces_between(file, begin, len(data)):
            assert known[piece.at] == piece
        for window in (rows_around(file, where), rows_before(file, begin), rows_after(file, begin)):
            for row in window.rows:
                assert known[row.at].end == row.end


def test_windows_joined_are_the_file(tmp_path: Path) -> None:
    lines = [f"line {number:05d} " + "y" * (number % 300 + 1) for number in range(3000)]
    path = tmp_path / "a.log"
    path.write_text("\n".join(lines) + "\n")
    with open_log(path) as file:
        down: list[str] = []
        at = 0
        while (window := rows_after(file, at)).rows:
            down += [row.text for row in window.rows]
            at = window.end
        up: list[str] = []
        at = file.size
        while (window := rows_before(file, at)).rows:
            up = [row.text for row in window.rows] + up
            at = window.start
    assert down == lines
    assert up == lines


def test_a_window_is_bounded_and_holds_the_place_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"short\n" * 200_000)
    with open_log(path) as file:
        at = 6 * 123_456
        window = rows_around(file, at)
        assert len(window.rows) <= 400
        assert at in {row.at for row in window.rows}
        assert file.bytes_read < 200_000


def test_an_unfinished_line_is_shown_and_comes_again(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"done\nhalf")
    with open_log(path) as file:
        window = rows_before(file, file.size)
        assert [(row.text, row.whole) for row in window.rows] == [("done", True), ("half", False)]
        assert window.end == 5
        with path.open("ab") as more:
            more.write(b" and half\n")
        assert [row.text for row in rows_after(file, window.end).rows] == ["half and half"]
