from __future__ import annotations

import json

import pytest
from pdpanel.panel.bench.figures import figure_of


def test_line_has_the_goal_as_its_peer() -> None:
    line = figure_of("20 tabs", "CPU of the server", "% of a core", [3.0, 5.0, 4.0], 15.0, "loaded").line("panel")
    assert json.loads(json.dumps(line)) == {
        "suite": "panel",
        "case": "20 tabs",
        "metric": "CPU of the server",
        "value": 4.0,
        "unit": "% of a core",
        "peer": "goal",
        "peer_value": 15.0,
        "ratio": pytest.approx(4 / 15, abs=1e-3),
        "min": 3.0,
        "max": 5.0,
        "note": "loaded",
    }


def test_goal_is_met_by_the_median_or_missed() -> None:
    met, missed = (figure_of("c", "m", "s", [value, value, 100.0], 3.0) for value in (2.5, 3.5))
    assert (met.is_met, missed.is_met) == (True, False)
    assert met.text().endswith("goal 3 s: met")
    assert missed.text().endswith("goal 3 s: MISSED")


def test_figure_without_a_goal() -> None:
    figure = figure_of("c", "m", "MB", [1.0])
    line = figure.line("panel")
    assert (line["peer_value"], line["ratio"], "note" in line) == (None, None, False)
    assert "goal" not in figure.text()
    assert figure.is_met
    # A goal of nothing has no ratio.
    assert figure_of("c", "m", "", [0.0], 0.0).line("panel")["ratio"] is None
