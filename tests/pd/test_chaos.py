"""`pdpanel bench` on real runs: workers are killed and stopped under load, and many clients come at once.

Counts are asserted, never a time.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from pdpanel.panel.bench.small_model import write_small_model
from pdpanel.panel.bench.topology import TOPOLOGIES

MUST_BE_ZERO = (
    "missing_final",
    "wrong_tokens",
    "leaked_pages",
    "leaked_rooms",
    "leaked_processes",
    "late_writes",
    "integrity_errors",
)


def command(folder: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "pdpanel.panel.cli", "--state-dir", str(folder), "bench", *arguments]


def bench(folder: Path, *arguments: str, limit_s: float) -> dict[str, Any]:
    """Returns the JSON line of a benchmark, which must have ended well."""
    ended = subprocess.run(
        [*command(folder, *arguments), "--json"], capture_output=True, text=True, timeout=limit_s, check=False
    )
    assert ended.stdout.count("\n") == 1, ended.stdout + ended.stderr
    line = json.loads(ended.stdout)
    assert ended.returncode == 0, (line, ended.stderr)
    return line


def check_faults(line: dict[str, Any]) -> None:
    assert {name: line[name] for name in MUST_BE_ZERO} == dict.fromkeys(MUST_BE_ZERO, 0)
    assert line["requests"] == line["completed"] + line["refused"] + line["failed"] + line["left"]
    assert line["final_events"] == line["requests"] - line["left"]
    assert line["completed"] > 0
    assert line["restarts"] + line["ranks_lost"] == line["kills"] > 0


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model that costs next to nothing: what dies and comes again is the workers, whatever they compute."""
    return str(write_small_model(tmp_path_factory.mktemp("small")))


@pytest.mark.timeout(400)
def test_workers_that_die_under_load_cost_no_request_and_no_page(small: str, tmp_path: Path) -> None:
    arguments = ("--seconds", "12", "--clients", "6", "--transport", "tcp", "--model", small)
    check_faults(bench(tmp_path, "faults", *arguments, limit_s=380))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("ranks", ["2-1", "1-2", "2-2"])
def test_any_rank_may_die(small: str, tmp_path: Path, ranks: str) -> None:
    arguments = ("--seconds", "40", "--clients", "4", "--transport", "tcp", "--model", small)
    check_faults(bench(tmp_path, "faults", *arguments, "--ranks", ranks, limit_s=580))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", [name for name in TOPOLOGIES if name != "pair"])
def test_topologies(small: str, tmp_path: Path, name: str) -> None:
    """Attention groups, experts and encoders: what a model of its own shows, and what any does."""
    model = () if TOPOLOGIES[name].model.startswith("random:") else ("--model", small)
    arguments = ("--seconds", "45", "--clients", "4", "--transport", "tcp", *model)
    line = bench(tmp_path, "faults", *arguments, "--topology", name, limit_s=580)
    check_faults(line)
    assert (line["ranks_lost"] > 0) is TOPOLOGIES[name].goes_on


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_ten_minutes(smollm2: object, tmp_path: Path) -> None:
    check_faults(bench(tmp_path, "faults", "--seconds", "600", limit_s=1400))


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param(("--clients", "64", "--few", "8", "--requests", "16", "--queue", "4", "--model"), id="small"),
        pytest.param(("--clients", "1024"), marks=pytest.mark.slow, id="1024"),
    ],
)
def test_a_crowd_is_answered_or_told_when_to_come_again(
    smollm2: object, small: str, tmp_path: Path, sizes: tuple[str, ...]
) -> None:
    model = (small,) if "--model" in sizes else ()
    ended = subprocess.run(
        [*command(tmp_path, "clients", "--rounds", "1", "--transport", "tcp", *sizes, *model), "--json"],
        capture_output=True,
        text=True,
        timeout=1700,
        check=False,
    )
    line = json.loads(ended.stdout)
    assert {name: line[name] for name in ("failed", "hung", "dropped", "wrong_tokens")} == dict.fromkeys(
        ("failed", "hung", "dropped", "wrong_tokens"), 0
    ), ended.stderr
    assert line["accepted"] + line["refused"] == line["clients"]
    assert line["completed"] > 0


@pytest.mark.timeout(120)
@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_what_was_started_ends_with_the_benchmark(smollm2: object, tmp_path: Path, number: signal.Signals) -> None:
    with subprocess.Popen(command(tmp_path, "faults"), stderr=subprocess.PIPE, text=True) as started:
        assert started.stderr is not None
        run_id = started.stderr.readline().removeprefix("started ").strip()
        assert run_id.startswith("bench-reference-")
        members = wait_for_members(run_id)
        started.send_signal(number)
        assert started.wait(60) == 130
    assert not [pid for pid in members if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"]
    assert not members_of(run_id)


def members_of(run_id: str) -> list[int]:
    found = []
    for pid in psutil.pids():
        try:
            if f"PDPANEL_RUN_ID={run_id}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                found.append(pid)
        except OSError:
            continue
    return [pid for pid in found if pid != os.getpid()]


def wait_for_members(run_id: str) -> list[int]:
    deadline = time.monotonic() + 60
    while not (found := members_of(run_id)):
        assert time.monotonic() < deadline, f"nothing of {run_id} runs"
        time.sleep(0.05)
    return found
