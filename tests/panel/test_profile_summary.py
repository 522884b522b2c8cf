"""One page about a trace: where the time went adds up, and operators are counted without those inside."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.panel.cli_profile import summary_text
from pdpanel.panel.profile_summary import main, read_events, summarise, summary_of
from simulated_profiles import write_trace

WINDOW = {"ph": "X", "cat": "Trace", "name": "PyTorch Profiler (0)", "tid": "x", "ts": 0.0, "dur": 10e6}


def event(name: str, began_s: float, ended_s: float, cat: str = "cpu_op", tid: int = 1) -> dict[str, Any]:
    times = {"ts": began_s * 1e6, "dur": (ended_s - began_s) * 1e6}
    return {"ph": "X", "cat": cat, "name": name, "pid": 1, "tid": tid, **times}


def test_the_parts_add_up_and_writes_stand_beside(tmp_path: Path) -> None:
    found = summary_of(write_trace(tmp_path / "TP-0.trace.json.gz"))
    assert found["seconds"] == 4.0
    parts = {name: round(found[name], 6) for name in ("compute_s", "exchange_s", "copy_s", "wait_s")}
    assert parts == {"compute_s": 1.5, "exchange_s": 0.5, "copy_s": 0.0, "wait_s": 2.0}
    assert (round(found["transfer_s"], 6), round(found["hidden_s"], 6)) == (1.5, 0.5)
    step = {"count": 2, "seconds": 2.0, "longest_s": 1.0, "exchange_s": 0.5, "copy_s": 0.0}
    (told,) = found["steps"]
    assert told["name"] == "decode step"
    assert {name: told[name] for name in step} == pytest.approx(step)
    operators = {one["name"]: (round(one["self_s"], 6), one["count"]) for one in found["operators"]}
    assert operators == {"decode step": (0.9, 2), "aten::mm": (0.6, 1), "exchange: sum": (0.5, 1)}
    assert sum(one["share"] for one in found["operators"]) == pytest.approx(1.0)
    text = summary_text(found)
    assert "waiting for work" in text and "2.000 s    50%" in text and "aten::mm" in text


def test_the_thread_with_steps_is_the_one_that_computes() -> None:
    found = summarise([WINDOW, event("other", 0, 9, tid=2), event("prefill step", 1, 2, "pdpanel_compute")])
    assert found["wait_s"] == pytest.approx(9.0) and [one["name"] for one in found["operators"]] == ["prefill step"]
    without = summarise([WINDOW, event("other", 0, 9, tid=2), event("aten::add", 1, 2)])
    assert without["wait_s"] == pytest.approx(1.0), "a follower's trace has torch's events alone"


def test_kernels_of_a_gpu_count_beside() -> None:
    found = summarise([WINDOW, event("gemm", 0, 2, "kernel", 99), event("gemm", 1, 3, "kernel", 98)])
    assert found["gpu_s"] == pytest.approx(3.0)
    assert found["operators"][0] == {"name": "GPU: gemm", "count": 2, "self_s": 4.0, "share": 1.0}


def test_an_empty_profile_is_a_page_too() -> None:
    found = summarise([WINDOW])
    assert (found["seconds"], found["compute_s"], found["operators"]) == (10.0, 0.0, [])
    assert summary_text(found) and summary_text(summarise([]))


@given(st.lists(st.tuples(st.integers(0, 90), st.integers(1, 30), st.integers(0, 3)), max_size=30))
def test_times_never_add_up_to_more_than_there_is(spans: Sequence[tuple[int, int, int]]) -> None:
    kinds = ("cpu_op", "pdpanel_compute", "pdpanel_copy", "pdpanel_wait")
    events = [event(f"op{kind}", began / 10, (began + long) / 10, kinds[kind]) for began, long, kind in spans]
    found = summarise([WINDOW, *events])
    parts = [found[name] for name in ("compute_s", "exchange_s", "copy_s", "wait_s")]
    assert all(part >= 0 for part in parts) and sum(parts) <= found["seconds"] + 1e-6
    assert all(one["self_s"] >= 0 for one in found["operators"])


@given(st.integers(1, 200), st.integers(0, 60))
def test_events_are_read_whatever_the_blocks_are(count: int, padding: int) -> None:
    events = [{"ph": "X", "name": f'a"]{place}', "args": {"x": [1, {"y": "]"}]}} for place in range(count)]
    text = "{" + " " * padding + '"a": 1,\n"traceEvents": [\n' + ",\n  ".join(map(json.dumps, events)) + '\n], "b": 2}'

    class Slow(io.StringIO):
        def read(self, size: int | None = -1) -> str:
            return super().read(7)

    assert list(read_events(Slow(text))) == events


@pytest.mark.parametrize("text", ["", "{}", '{"traceEvents": [{"a": ', '{"traceEvents": [}'])
def test_what_is_no_trace_is_said_to_be_none(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "broken.trace.json.gz"
    with gzip.open(path, "wt") as file:
        file.write(text)
    assert main([str(path)]) == 2
    assert "is no trace" in capsys.readouterr().err


def test_a_process_of_its_own_prints_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_trace(tmp_path / "TP-0.trace.json.gz")
    assert main([str(path)]) == 0
    assert json.loads(capsys.readouterr().out) == summary_of(path)
