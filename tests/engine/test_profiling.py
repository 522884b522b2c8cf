"""Profiles of a worker: torch's operations and the worker's own spans in one trace, one at a time, in its folder."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import queue
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pdpanel.engine.errors import CapacityError, ConflictError, RequestError
from pdpanel.engine.profiling import Profiling
from pdpanel.engine.profiling_spans import COMPUTE, MOST_SPANS, OPERATION, TRANSFER, Spans
from pdpanel.engine.profiling_trace import ProfileRequest, RankProfile


class Loop:
    """A thread that computes what is posted to it."""

    def __init__(self) -> None:
        self.calls: queue.SimpleQueue[Callable[[float], None] | None] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        while (call := self.calls.get()) is not None:
            call(0.0)

    def close(self) -> None:
        self.calls.put(None)
        self.thread.join()


@pytest.fixture
def computing() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


def events(path: str | Path) -> list[dict[str, Any]]:
    with gzip.open(path) as file:
        return json.load(file)["traceEvents"]


def profiled(loop: Loop, root: Path, *, steps: int = 0, work: Callable[[Spans], None], folder: str = "") -> Any:
    """Profiles `work`, done twice on the computing thread; returns the status at the end."""
    own = RankProfile(0, Spans())

    async def run() -> Any:
        profiling = Profiling(loop.calls.put, own, root, "unified")
        began = await profiling.start(ProfileRequest(folder, steps))
        assert began["state"] == "profiling" and own.spans.active
        for _ in range(2):
            loop.calls.put(lambda now: work(own.spans))
        if not steps:
            return await profiling.stop()
        async with asyncio.timeout(30):
            while profiling.status()["state"] != "done":  # noqa: ASYNC110  (nobody tells of an end)
                await asyncio.sleep(0.01)
        return profiling.status()

    return asyncio.run(run())


def step(spans: Spans) -> None:
    with spans.over(COMPUTE, "decode step"):
        _ = torch.ones(64, 64) @ torch.ones(64, 64)
        began = time.time_ns()
        spans.add_operations(["norm", "qkv", "attention"], [100, 200, 400], began - 3_000_000, began)
    spans.written(0.002)


def test_a_trace_has_torchs_operations_and_ours_in_one_clock(computing: Loop, tmp_path: Path) -> None:
    before = time.time_ns()
    status = profiled(computing, tmp_path, work=step)
    assert (status["state"], status["steps"], status["error"]) == ("done", 2, "")
    (file,) = status["files"]
    assert file["rank"] == 0 and Path(file["path"]).is_relative_to(tmp_path / "profiles")
    assert file["bytes"] == Path(file["path"]).stat().st_size
    found = events(file["path"])
    with gzip.open(file["path"]) as text:
        base = json.load(text)["baseTimeNanoseconds"]
    steps = [each for each in found if each.get("cat") == "pdpanel_compute"]
    products = [each for each in found if each.get("name") == "aten::mm"]
    assert len(steps) == 2 == len(products)
    for one, product in zip(steps, products, strict=True):
        assert one["tid"] == product["tid"] and one["pid"] == product["pid"]
        assert one["ts"] <= product["ts"] + 50 and product["ts"] + product["dur"] <= one["ts"] + one["dur"] + 50
        assert before <= base + one["ts"] * 1000 + 1e6 and base + one["ts"] * 1000 <= time.time_ns()
    operations = [(each["name"], round(each["dur"])) for each in found if each.get("cat") == "pdpanel_operation"]
    assert operations[:2] == [("qkv", 1000), ("attention", 2000)]
    writes = [each["ph"] for each in found if each.get("cat") == "pdpanel_transfer"]
    assert writes == ["b", "e"] * 2
    assert [path.name for path in Path(file["path"]).parent.iterdir()] == ["TP-0.trace.json.gz"]


def test_it_ends_by_itself_after_the_steps_that_were_asked_for(computing: Loop, tmp_path: Path) -> None:
    status = profiled(computing, tmp_path, work=step, steps=1, folder="mine")
    assert (status["state"], status["steps"]) == ("done", 1), "not a step more, though there were two"
    assert Path(status["files"][0]["path"]).is_relative_to(tmp_path / "mine")


def with_profiling(loop: Loop, root: Path, use: Callable[[Profiling], Awaitable[None]]) -> None:
    async def run() -> None:
        await use(Profiling(loop.calls.put, RankProfile(0, Spans()), root, "prefill"))

    asyncio.run(run())


def test_there_is_one_at_a_time(computing: Loop, tmp_path: Path) -> None:
    async def use(profiling: Profiling) -> None:
        with pytest.raises(ConflictError, match="no profile is under way"):
            await profiling.stop()
        await profiling.start(ProfileRequest())
        with pytest.raises(ConflictError, match="a profile is under way"):
            await profiling.start(ProfileRequest())
        first, second = await asyncio.gather(profiling.stop(), profiling.stop())
        assert first["files"] == second["files"] != []
        await profiling.start(ProfileRequest())
        again = await profiling.stop()
        assert again["folder"] != first["folder"], "nothing is overwritten"

    with_profiling(computing, tmp_path, use)


@pytest.mark.parametrize("folder", ["/etc", "../x", "a/../../x", "link/x", "a\0b", "x" * 300])
def test_nothing_is_written_outside_the_workers_folder(computing: Loop, tmp_path: Path, folder: str) -> None:
    root = tmp_path / "run"
    root.mkdir()
    (root / "link").symlink_to(tmp_path)

    async def use(profiling: Profiling) -> None:
        with pytest.raises(RequestError, match="output_dir"):
            await profiling.start(ProfileRequest(folder))
        assert profiling.status()["state"] == "idle"

    with_profiling(computing, root, use)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_a_disk_that_is_full_is_a_reason_and_no_end(computing: Loop, tmp_path: Path) -> None:
    async def use(profiling: Profiling) -> None:
        status = await profiling.start(ProfileRequest())
        os.rmdir(str(status["folder"]))
        with pytest.raises(CapacityError, match="could not be written"):
            await profiling.stop()
        assert profiling.status()["state"] == "failed"
        await profiling.start(ProfileRequest())
        assert (await profiling.stop())["state"] == "done"

    with_profiling(computing, tmp_path, use)


class OtherRanks:
    """Rank 1, which does what the order says on a thread of its own."""

    def __init__(self, *, silent: bool = False) -> None:
        self.on_profiled: Callable[[int, str], None] | None = None
        self.profiler = RankProfile(1, Spans())
        self.silent = silent

    def profile(self, folder: str) -> None:
        # A thread of its own has torch's profiler of its own, but a process has one: this rank is played without.
        if not folder and self.on_profiled is not None:
            self.on_profiled(1, "" if self.silent else "/elsewhere/TP-1.trace.json.gz")


@pytest.mark.parametrize("silent", [False, True])
def test_each_rank_has_a_file_and_one_that_fails_is_named(computing: Loop, tmp_path: Path, silent: bool) -> None:
    async def run() -> dict[str, Any]:
        own, ranks = RankProfile(0, Spans()), OtherRanks(silent=silent)
        profiling = Profiling(computing.calls.put, own, tmp_path, "decode", ranks, 2)
        await profiling.start(ProfileRequest())
        return await profiling.stop()

    status = asyncio.run(run())
    assert status["state"] == "done"
    assert [file["rank"] for file in status["files"]] == ([0] if silent else [0, 1])
    assert ("rank 1" in status["error"]) is silent
    assert silent or status["files"][1]["bytes"] is None, "another node's file is not here"


def test_a_followers_order_is_begin_and_end(tmp_path: Path) -> None:
    follower = RankProfile(3, Spans())
    assert follower.profile("") == "", "an end without a beginning"
    assert follower.profile(str(tmp_path / "made")) == ""
    _ = torch.ones(8) + 1
    path = follower.profile("")
    assert path == str(tmp_path / "made" / "TP-3.trace.json.gz")
    assert any(event.get("name") == "aten::add" for event in events(path))


def test_spans_cost_nothing_and_keep_nothing_while_nobody_profiles() -> None:
    spans = Spans()
    spans.add(COMPUTE, "step", 0, 1)
    with spans.over(OPERATION, "norm"):
        pass
    spans.written(1.0)
    assert spans.take() == [] and spans.steps == 0


def test_more_spans_than_a_trace_may_have_are_counted() -> None:
    spans = Spans()
    spans.begin()
    for place in range(MOST_SPANS + 3):
        spans.add(TRANSFER, "KV write", place, place)
    assert spans.dropped == 3 and len(spans.take()) == MOST_SPANS
