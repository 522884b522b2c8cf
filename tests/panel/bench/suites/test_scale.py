"""The short form measures each kind once on a real run with a small model, each against its smallest case."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from pdpanel.panel.bench.comparison import Comparison
from pdpanel.panel.bench.suite import SuiteOptions, measure
from pdpanel.panel.config import read_config
from pdpanel.panel.runs import Runs


def _found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *only: str) -> Sequence[Comparison]:
    config = read_config({}, state_dir=tmp_path / "state", cache_dir=tmp_path / "cache")
    monkeypatch.setenv("PDPANEL_CACHE_DIR", str(config.cache_dir))
    return list(measure("scale", SuiteOptions(short=True, only=only), Runs(config), lambda text: None))


def _named(found: Sequence[Comparison], case: str, metric: str) -> Comparison:
    return next(one for one in found if (one.case, one.metric) == (case, metric))


def test_batch_and_context_are_measured_on_the_executor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = _found(tmp_path, monkeypatch, "batch", "context=256")
    assert {one.case for one in found} == {"batch=1", "batch=2", "batch=4", "context=128", "context=256"}
    four, one = _named(found, "batch=4", "step"), _named(found, "batch=1", "step")
    assert (four.peer, four.peer_values, one.peer) == ("batch=1", one.values, "")
    assert "weights" in four.note and "thread" in four.note
    speed = _named(found, "batch=4", "tokens_per_s")
    assert speed.value == pytest.approx(4000 / four.value)


def test_a_run_is_measured_idle_and_under_clients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = _found(tmp_path, monkeypatch, "idle", "prompt", "clients")
    idle = {one.case for one in found if one.metric == "idle_cpu_percent"}
    assert idle == {f"idle,process={name}" for name in ("prefill-0", "decode-0", "router", "runner")}
    assert all(one.goal and one.goal.at_most == 1 for one in found if one.metric == "idle_cpu_percent")
    crowd = _named(found, "clients=4", "tokens_per_s")
    assert crowd.peer == "clients=1" and crowd.value > 0
    assert _named(found, "clients=4,process=router", "rss").value > 1
    assert _named(found, "prompt=64", "ttft").peer == "prompt=16"
    assert {"ttft_p50", "itl_p50"} <= {one.metric for one in found}


@pytest.mark.slow
def test_workers_are_held_against_one_of_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = _found(tmp_path, monkeypatch, "workers")
    assert [one.case for one in found] == ["workers=1p1d"]
    assert found[0].value > 0


def test_what_nobody_asked_for_is_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _found(tmp_path, monkeypatch, "threads") == []
