"""Results written by a suite come back as they were."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.bench.comparison import Comparison, Goal
from pdpanel.panel.bench.records import parse_goal, read_results
from stored_results import write_results


def test_what_a_suite_wrote_is_read(tmp_path: Path) -> None:
    results = read_results(write_results(tmp_path / "engine.jsonl"))
    assert (results.name, results.suite, results.machine["cpu"]) == ("engine", "engine", "made up")
    ratio, alone, plain = results.records
    assert (ratio.value, ratio.least, ratio.most, ratio.peer_value, ratio.ratio) == (30, 20, 40, 10, 3)
    assert (ratio.peer, ratio.met, ratio.judged, ratio.over_goal) == ("peer, 2 threads", False, 3, 0.75)
    assert (alone.peer, alone.met, alone.judged, alone.over_goal) == ("", True, 0.002, 2.5)
    assert alone.note == "a note"
    assert (plain.goal, plain.met, plain.over_goal) == (None, None, None)
    assert results.goals == [ratio, alone]


@given(st.floats(0.001, 1000), st.booleans(), st.floats(0.001, 1000))
def test_a_goal_is_reached_from_one_on(bound: float, is_least: bool, value: float) -> None:
    goal = parse_goal(str(Goal(at_least=bound) if is_least else Goal(at_most=bound)))
    line = Comparison("c", "m", "u", [value], goal=goal).line("engine")
    met = line["met"]
    over = value / (goal.at_least or 1) if is_least else (goal.at_most or 1) / value
    assert met is (over >= 1) or abs(over - 1) < 1e-9


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "no json", '{"suite": "engine"}', '{"suite": 1, "machine": 2}\n{"metric": 3}']
)
def test_another_file_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "other.jsonl"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"other\.jsonl.*is no file of"):
        read_results(path)


@pytest.mark.parametrize("text", ["> 3", ">=3", "", "<= many"])
def test_what_is_no_goal_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_goal(text)
