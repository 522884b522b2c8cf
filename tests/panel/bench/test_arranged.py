"""The arranged bottlenecks: how they are measured, and what counts as the truth."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.panel.bench.arranged import ARRANGEMENTS, HOSTS, truth_of
from pdpanel.panel.bench.pressure import within
from pdpanel.panel.bench.throttle import USUAL, Pace, Throttle
from pdpanel.panel.runner.procfs import Stat, read_stat
from pdpanel.panel.verdict.values import Limit


def test_there_are_enough_arrangements_of_every_kind() -> None:
    assert len(ARRANGEMENTS) >= 10
    assert {one.arranged for one in ARRANGEMENTS} == set(Limit) - {Limit.UNKNOWN}
    assert {one.host for one in ARRANGEMENTS} == set(HOSTS)
    assert len({one.name for one in ARRANGEMENTS}) == len(ARRANGEMENTS)


def test_the_truth_is_the_relief_that_helps_most() -> None:
    assert truth_of({Limit.PREFILL: 1.9, Limit.DECODE: 1.3}) is Limit.PREFILL
    assert truth_of({Limit.PREFILL: 1.05, Limit.DECODE: 0.9}) is Limit.NOTHING


def test_twice_as_fast_is_the_same_work_in_half_of_the_time() -> None:
    assert USUAL.twice.run_s == USUAL.run_s
    assert Pace(0.02, 0.06).twice == Pace(0.02, 0.02)


@given(st.floats(0, 10), st.floats(0, 10), st.lists(st.floats(0, 10), min_size=1, max_size=5))
def test_the_shares_of_a_request_add_up(began: float, lasts: float, cuts: list[float]) -> None:
    edges = [-1.0, *sorted(cuts), 30.0]
    shares = [within(began, began + lasts, one, other) for one, other in pairwise(edges)]
    assert sum(shares) == pytest.approx(1.0)


@pytest.fixture
def counting(tmp_path: Path) -> Iterator[tuple[Stat, Path]]:
    """A process that counts as fast as it can, and the file with its number."""
    said = tmp_path / "n"
    said.write_bytes(b"0" * 12)
    code = (
        "import mmap,sys\nf=open(sys.argv[1],'r+b')\nm=mmap.mmap(f.fileno(),12)\nn=0\n"
        "while True:\n n+=1\n m[:]=b'%012d'%n\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(said)])
    try:
        stat = read_stat(child.pid)
        assert stat is not None
        yield stat, said
    finally:
        os.kill(child.pid, signal.SIGCONT)
        child.kill()
        child.wait()


def test_a_throttled_process_stands_still_and_goes_on(counting: tuple[Stat, Path]) -> None:
    stat, said = counting

    def state() -> str:
        now = read_stat(stat.pid)
        return now.state if now is not None else ""

    def until_moves(before: bytes) -> bytes:
        deadline = time.monotonic() + 30
        while (now := said.read_bytes()) <= before:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        return now

    seen = until_moves(b"0" * 12)
    with Throttle({"it": stat}) as throttle:
        throttle.set({"it": Pace(0.01, 60.0)})
        deadline = time.monotonic() + 30
        while state() != "T":
            assert time.monotonic() < deadline
            time.sleep(0.005)
        still = said.read_bytes()
        assert said.read_bytes() == still
        assert still >= seen
    # Whoever leaves the block leaves nothing stopped, also in the middle of a long pause.
    until_moves(still)
    assert state() != "T"
