from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.panel.runner.journal import clean_line, last_meaningful_line, strip_controls, tail_lines


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07x", "x"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("a\rb\x08\x9b31m", "ab31m"),
        ("\u202eabc", "abc"),
        ("tab\there", "tab here"),
        ("x" * 400, "x" * 297 + "..."),
    ],
)
def test_lines_are_cleaned(text: str, plain: str) -> None:
    assert clean_line(text) == plain


@given(st.text())
def test_nothing_that_controls_a_terminal_is_left(text: str) -> None:
    assert not any((ord(char) < 32 and char not in "\t\n") or 127 <= ord(char) < 160 for char in strip_controls(text))


@pytest.mark.parametrize(
    ("log", "line"),
    [
        ("", ""),
        (
            "loading\nTraceback (most recent call last):\n  x\nValueError: bad\nleaked semaphore\n\n",
            "ValueError: bad",
        ),
        ("pdpanel.errors.ConfigError: no\n", "pdpanel.errors.ConfigError: no"),
        ("step 1\nERROR: port in use\nbye\n", "ERROR: port in use"),
        ("one\ntwo\n\n  \n", "two"),
    ],
)
def test_the_line_that_says_why(tmp_path: Path, log: str, line: str) -> None:
    path = tmp_path / "log"
    path.write_text(log)
    assert last_meaningful_line(path) == line


def test_only_the_end_of_a_long_log_is_read(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"\xff\xfe" + b"x" * 100_000 + b"\nlast\n")
    assert tail_lines(path, 1) == ["last"]
    assert tail_lines(tmp_path / "none", 3) == []


def test_our_own_lines_explain_an_end_only_when_they_are_errors(tmp_path: Path) -> None:
    """A worker that is killed has said nothing about it: its last line, a peer that joined, is no reason."""
    path = tmp_path / "worker.log"
    joined = '{"t": "12:00:01", "level": "info", "event": "peer_joined", "peer": "127.0.0.1:8998"}\n'
    path.write_text(joined)
    assert last_meaningful_line(path) == ""
    path.write_text('{"t": "12:00:00", "level": "error", "event": "fatal", "reason": "it broke"}\n' + joined)
    assert last_meaningful_line(path) == "it broke"
    path.write_text("terminate called without an active exception\n" + joined)
    assert last_meaningful_line(path) == "terminate called without an active exception"
