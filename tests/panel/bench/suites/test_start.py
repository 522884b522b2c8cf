"""The short form starts a real prefill and decode worker through the command line and tells every phase of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pdpanel.panel.bench.suite import SuiteOptions, measure
from pdpanel.panel.bench.suites import start
from pdpanel.panel.config import read_config
from pdpanel.panel.runs import Runs


def test_a_start_is_told_against_import_torch_and_by_phases(tmp_path: Path) -> None:
    told: list[str] = []
    found = list(measure("start", SuiteOptions(short=True), Runs(read_config(state_dir=tmp_path)), told.append))
    against, alone, *phases = found
    assert (against.metric, against.peer, len(against.values)) == ("up_to_first_token", "import torch", 1)
    assert against.ratio is not None and against.value > 0
    assert (alone.unit, alone.goal and alone.goal.at_most) == ("s", 8)
    names = [phase.case for phase in phases]
    assert "1p1d,phase=worker: import torch" in names
    assert names[0] == "1p1d,phase=command" and names[-1] == "1p1d,phase=first token"
    assert sum(phase.value for phase in phases) == pytest.approx(against.value, rel=0.05)
    assert told == [f"{against.value:.2f} s to the first token"]
    assert not (tmp_path / "runs").exists()


def test_a_case_that_is_not_wanted_starts_nothing(tmp_path: Path) -> None:
    options = SuiteOptions(only=("2p2d",))
    assert list(start.measure(options, Runs(read_config(state_dir=tmp_path)), lambda text: None)) == []
