from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.panel.logs.marks import Marks
from pdpanel.panel.runner.log_cap import HEAD_BYTES, LogCap, head_of
from pdpanel.panel.web.log_tail import LogTail


def numbered(count: int, start: int = 0) -> bytes:
    return b"".join(f"line {number:07d} of a process that says a lot\n".encode() for number in range(start, count))


def numbers(data: bytes) -> list[int]:
    return [int(found) for found in re.findall(rb"^line (\d{7}) of a process that says a lot$", data, re.MULTILINE)]


def test_the_newest_part_stays_and_the_beginning_is_kept_beside_it(tmp_path: Path) -> None:
    log = tmp_path / "decode-0.log"
    log.write_bytes(numbered(100_000))
    assert LogCap(tmp_path, 4 << 20).look() == [log]
    kept = log.read_bytes()
    assert numbers(kept)[-1] == 99_999
    assert len(kept) <= (1 << 20) + 200
    assert numbers(kept) == list(range(numbers(kept)[0], 100_000)), "whole lines, none left out"
    first = kept.split(b"\n", 1)[0].decode()
    assert "were cut out of this log here; its beginning is in decode-0.head.log" in first
    head = head_of(log).read_bytes()
    assert HEAD_BYTES - 100 < len(head) <= HEAD_BYTES
    assert numbers(head) == list(range(len(numbers(head))))


def test_a_log_below_the_cap_is_left_alone(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(numbered(1000))
    assert LogCap(tmp_path, 1 << 20).look() == []
    assert log.read_bytes() == numbered(1000)


def test_the_second_cut_leaves_the_first_beginning(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(numbered(40_000))
    cap = LogCap(tmp_path, 1 << 20)
    cap.look()
    head = head_of(log).read_bytes()
    with log.open("ab") as file:
        file.write(numbered(80_000, 40_000))
    assert cap.look() == [log]
    assert head_of(log).read_bytes() == head
    assert numbers(log.read_bytes())[-1] == 79_999


@given(st.binary(max_size=300), st.integers(1, 60), st.integers(4096, 9000))
def test_whatever_is_in_a_log_its_end_stays(
    tmp_path_factory: pytest.TempPathFactory, piece: bytes, count: int, cap_bytes: int
) -> None:
    """Binary too, and without a single end of a line."""
    folder = tmp_path_factory.mktemp("logs")
    log = folder / "a.log"
    data = piece * count
    log.write_bytes(data)
    cut = LogCap(folder, cap_bytes).look()
    assert bool(cut) is (len(data) > cap_bytes)
    kept = log.read_bytes()
    if cut:
        note, _, rest = kept.partition(b"\n")
        assert note.startswith(b"[pdpanel] ")
        assert data.endswith(rest) and len(rest) <= cap_bytes // 4
    else:
        assert kept == data


def test_a_writer_goes_on_while_its_log_is_cut(tmp_path: Path) -> None:
    """It has the file open for appending, as the runner's children have; what it writes is not torn."""
    log = tmp_path / "a.log"
    script = (
        "import os, sys\nfor n in range(150000):\n    os.write(1, b'line %07d of a process that says a lot\\n' % n)\n"
    )
    with log.open("ab") as out:
        writer = subprocess.Popen([sys.executable, "-c", script], stdout=out)
        cuts = 0
        cap = LogCap(tmp_path, 1 << 20)
        while writer.poll() is None:
            cuts += len(cap.look())
    assert writer.returncode == 0
    assert cuts > 0
    found = numbers(log.read_bytes())
    assert found[-1] == 149_999
    assert found == sorted(found)
    # Between the last look at the size and the cut a few lines may be lost, no more.
    assert len(found) > 0.9 * (150_000 - found[0])


def test_someone_who_follows_the_log_goes_on_with_its_end(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(numbered(40_000))
    tail = LogTail(log, Marks())
    while tail.read() is not None:
        pass
    LogCap(tmp_path, 1 << 20).look()
    chunk = tail.read()
    assert chunk is not None and chunk.restarted
    assert chunk.window.rows[-1].text == "line 0039999 of a process that says a lot"


def test_links_and_devices_are_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(numbered(40_000))
    logs = tmp_path / "logs"
    logs.mkdir()
    os.symlink(precious, logs / "a.log")
    os.symlink("/dev/full", logs / "b.log")
    os.mkfifo(logs / "c.log")
    assert LogCap(logs, 5000).look() == []
    assert precious.read_bytes() == numbered(40_000)
    assert LogCap(tmp_path / "missing", 5000).look() == []


def test_without_room_for_the_beginning_the_log_is_cut_all_the_same(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(numbered(40_000))
    head_of(log).mkdir()
    assert LogCap(tmp_path, 1 << 20).look() == [log]
    assert log.stat().st_size < 1 << 20
    assert b"there was no room to keep its beginning" in log.read_bytes()
