from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from pdpanel.panel.web.log_tail import LogTail
from pdpanel.panel.web.log_text import LogText


def read_whole(data: bytes) -> str:
    text = LogText()
    return text.feed(data) + text.feed(b"\n")


def test_colours_and_titles_are_dropped() -> None:
    data = b"\x1b[1;32mgreen\x1b[0m \x1b]0;title\x07x \x1b]8;;http://a\x1b\\link\x1b]8;;\x1b\\ \x1b(Bend"
    assert read_whole(data) == "green x link end\n"


def test_controls_are_dropped_and_lines_kept() -> None:
    assert read_whole(b"a\x00b\x08c\x07\td\r\ne\rf\n") == "abc\td\ne\nf\n\n"


def test_bidirectional_controls_are_dropped() -> None:
    assert read_whole("safe\u202eevil\u2066".encode()) == "safeevil\n"


def test_broken_utf8_is_replaced() -> None:
    assert read_whole(b"a\xffb") == "a\ufffdb\n"


@given(
    st.lists(
        st.sampled_from(
            ["word ", "é", "漢", "\x1b[31m", "\x1b[0m", "\x1b]0;t\x07", "\x1b]0;t\x1b\\", "\r\n", "\n", "🙂"]
        ),
        max_size=12,
    ),
    st.lists(st.integers(0, 80), max_size=8),
)
def test_cuts_change_nothing(parts: list[str], cuts: list[int]) -> None:
    """However a log is cut into chunks, inside a character or a sequence too, the text is the same."""
    data = "".join(parts).encode()
    text = LogText()
    edges = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    pieces = [text.feed(data[start:end]) for start, end in pairwise(edges)]
    assert "".join(pieces) + text.feed(b"\n") == read_whole(data)


def test_endless_escape_does_not_hold_the_log_back() -> None:
    text = LogText()
    text.feed(b"\x1b]0;" + b"x" * 1000)
    assert "after" in text.feed(b"after\n")


def test_tail_follows(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    tail = LogTail(path)
    assert tail.read() is None
    path.write_text("one\n")
    first = tail.read()
    assert first is not None
    assert (first.text, first.restarted, first.skipped_bytes) == ("one\n", True, 0)
    assert tail.read() is None
    with path.open("a") as file:
        file.write("two\n")
    second = tail.read()
    assert second is not None
    assert (second.text, second.restarted) == ("two\n", False)


def test_tail_begins_with_whole_lines_of_the_last_64_kb(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    lines = [f"line {number:06d}\n" for number in range(20_000)]
    path.write_text("".join(lines))
    chunk = LogTail(path).read()
    assert chunk is not None
    assert len(chunk.text) <= 64 * 1024
    assert chunk.text.startswith("line ")
    assert chunk.text.endswith(lines[-1])
    assert chunk.skipped_bytes + len(chunk.text) == path.stat().st_size


def test_tail_notices_a_new_file_and_a_cut_one(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("a long first file\n")
    tail = LogTail(path)
    tail.read()
    path.rename(tmp_path / "a.log.1")
    path.write_text("new and also long enough\n")
    rotated = tail.read()
    assert rotated is not None
    assert (rotated.text, rotated.restarted) == ("new and also long enough\n", True)
    path.write_text("cut\n")
    cut = tail.read()
    assert cut is not None
    assert (cut.text, cut.restarted) == ("cut\n", True)


def test_tail_reads_bounded_chunks(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("")
    tail = LogTail(path)
    tail.read()
    path.write_bytes(b"x" * 150_000)
    sizes = []
    while (chunk := tail.read()) is not None:
        sizes.append(len(chunk.text))
    assert max(sizes) <= 64 * 1024
    assert sum(sizes) == 150_000
