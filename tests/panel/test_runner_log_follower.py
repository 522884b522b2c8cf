from __future__ import annotations

from pathlib import Path

from pdpanel.panel.runner.log_follower import LogFollower
from pdpanel.panel.runner.mooncake_source import MooncakeLogs

LINE = "I1 1 2 x.cpp:1] [Metrics] Transfer Engine Stats (over last 5s): Throughput: 2.00 MB/s | "
LINE += "Latency Distribution (count=4): 10-20μs:100.0%\n"


def test_only_whole_new_lines_are_told(tmp_path: Path) -> None:
    log = tmp_path / "log"
    follower = LogFollower(log)
    assert follower.new_lines() == []
    log.write_text("one\ntw")
    assert follower.new_lines() == ["one"]
    with log.open("a") as file:
        file.write("o\n")
    assert follower.new_lines() == ["two"]
    assert follower.new_lines() == []


def test_what_was_there_before_is_the_past(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("old\n")
    follower = LogFollower(log)
    assert follower.new_lines() == []
    with log.open("a") as file:
        file.write("new\n")
    assert follower.new_lines() == ["new"]


def test_a_file_that_was_cut_or_replaced_begins_anew(tmp_path: Path) -> None:
    log = tmp_path / "log"
    follower = LogFollower(log)
    follower.new_lines()
    log.write_text("a long first line\n")
    follower.new_lines()
    log.write_text("cut\n")
    assert follower.new_lines() == ["cut"]
    (tmp_path / "other").write_text("replaced, and longer than before\n")
    (tmp_path / "other").replace(log)
    assert follower.new_lines() == ["replaced, and longer than before"]


def test_a_flood_is_read_from_its_end(tmp_path: Path) -> None:
    log = tmp_path / "log"
    follower = LogFollower(log, most_bytes=100)
    follower.new_lines()
    log.write_bytes(b"".join(b"line %04d\n" % number for number in range(1000)))
    lines = follower.new_lines()
    assert lines[-1] == "line 0999" and 0 < len(lines) <= 10 and all(len(line) == 9 for line in lines)
    log.write_bytes(log.read_bytes() + b"x" * 5000)
    follower.new_lines()
    with log.open("ab") as file:
        file.write(b"\nend\n")
    assert follower.new_lines()[-1] == "end"


def test_what_mooncake_says_is_good_for_the_seconds_that_it_is_about(tmp_path: Path) -> None:
    log, now = tmp_path / "p.log", [100.0]
    source = MooncakeLogs({"prefill-0": log}, lambda: now[0])
    assert source.read() == {}
    log.write_text(LINE)
    values = source.read()
    assert values["proc/prefill-0/mooncake_bytes_per_s"] == 2e6
    assert 10e-6 < values["proc/prefill-0/mooncake_latency_p50_s"] < 20e-6
    now[0] = 104.0
    assert source.read() == values
    now[0] = 106.0
    assert source.read() == {}
