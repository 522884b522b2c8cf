from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.engine.errors import NotFoundError
from pdpanel.panel.logs.marks import Marks
from pdpanel.panel.logs.restart_line import restart_line
from pdpanel.panel.web.log_tail import LogChunk, LogTail


def tail_of(path: Path) -> LogTail:
    return LogTail(path, Marks())


def texts(chunk: LogChunk | None) -> list[str]:
    assert chunk is not None
    return [row.text for row in chunk.window.rows]


def test_the_tail_follows(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    tail = tail_of(path)
    with pytest.raises(NotFoundError, match="is not there"):
        tail.read()
    path.write_text("one\n")
    first = tail.read()
    assert first is not None
    assert first.restarted
    assert texts(first) == ["one"]
    assert tail.read() is None
    with path.open("a") as file:
        file.write("two\n")
    second = tail.read()
    assert second is not None
    assert texts(second) == ["two"]
    assert not second.restarted


def test_the_tail_begins_with_the_last_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("".join(f"line {number:06d}\n" for number in range(20_000)))
    chunk = tail_of(path).read()
    assert texts(chunk)[-1] == "line 019999"
    assert texts(chunk)[0].startswith("line ")
    assert len(texts(chunk)) <= 400


@pytest.mark.parametrize("more", ["new and also long enough\n", "cut\n"])
def test_the_tail_notices_a_new_file_and_a_cut_one(tmp_path: Path, more: str) -> None:
    path = tmp_path / "a.log"
    path.write_text("a first file\n")
    tail = tail_of(path)
    tail.read()
    path.rename(tmp_path / "a.log.1")
    path.write_text(more)
    rotated = tail.read()
    assert rotated is not None
    assert rotated.restarted
    assert texts(rotated) == [more.strip()]
    path.write_text(more.upper())
    rewritten = tail.read()
    assert rewritten is not None
    assert texts(rewritten) == [more.strip().upper()]
    assert rewritten.restarted


def test_who_falls_far_behind_sees_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("begin\n")
    tail = tail_of(path)
    tail.read()
    with path.open("a") as file:
        file.write(("y" * 99 + "\n") * 30_000 + "THE END\n")
    chunk = tail.read()
    assert chunk is not None
    assert chunk.restarted
    assert texts(chunk)[-1] == "THE END"


@given(st.lists(st.sampled_from([b"a\n", b"half", b"\xc3\xa9\n", b"\r\n", b"x" * 9000]), max_size=12))
def test_however_it_is_written_the_rows_are_the_file(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes]
) -> None:
    path = tmp_path_factory.mktemp("tail") / "a.log"
    path.touch()
    tail = tail_of(path)
    rows: dict[int, str] = {}
    for part in parts:
        with path.open("ab") as file:
            file.write(part)
        while (chunk := tail.read()) is not None:
            if chunk.window.rows:
                rows = {at: text for at, text in rows.items() if at < chunk.window.start}
            rows |= {row.at: row.text for row in chunk.window.rows}
    whole = tail_of(path).read()
    assert whole is not None
    assert rows == {row.at: row.text for row in whole.window.rows}


def test_a_restart_is_a_row_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"the end" + restart_line(1_800_000_000.0) + b"again\n")
    chunk = tail_of(path).read()
    assert chunk is not None
    assert [row.restart for row in chunk.window.rows] == [False, True, False]


def test_hostile_lines_are_plain_text(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"\x1b]0;title\x07a\x1b[31mb\x00\x08\xe2\x80\xaec\xff\n")
    assert texts(tail_of(path).read()) == ["abc\ufffd"]


def test_binary_content_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(bytes(range(256)) * 2000)
    chunk = tail_of(path).read()
    assert chunk is not None
    assert chunk.window.binary
