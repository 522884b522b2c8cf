from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.panel.report.log_ends import read_ends


def test_both_ends_of_a_long_log_in_whole_lines(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(b"".join(b"line %06d\n" % number for number in range(10_000)))
    lines = read_ends(log, 100, 200).splitlines()
    assert lines[0] == "line 000000" and lines[-1] == "line 009999"
    (cut,) = [line for line in lines if not line.startswith("line ")]
    assert cut == f"[pdpanel] {(10_000 - (len(lines) - 1)) * 12} bytes are left out here"
    assert {len(line) for line in lines if line != cut} == {11}


def test_a_short_log_is_whole(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes("ein Wört\xff".encode())
    assert read_ends(log) == "ein Wört\xff"


@given(st.binary(max_size=400), st.integers(1, 100), st.integers(1, 100))
def test_no_line_is_torn(tmp_path_factory: pytest.TempPathFactory, data: bytes, head: int, tail: int) -> None:
    log = tmp_path_factory.mktemp("logs") / "a.log"
    log.write_bytes(data)
    whole = set(data.decode("utf-8", "replace").split("\n"))
    for line in read_ends(log, head, tail).split("\n"):
        assert line in whole or line == "" or line.startswith("[pdpanel] ")


def test_a_secret_whose_name_would_be_cut_off_is_not_shown(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(b"x" * 1000 + b" HF_TOKEN=" + b"s" * 400 + b" and no end of a line")
    assert "sss" not in read_ends(log, 10, 300)
