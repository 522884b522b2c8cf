"""The dashboard and the alert rules use only metrics that are really on a page, and have the shape that tools read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pdpanel.panel.web.exposition import FAMILIES
from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).parents[2]
BOARD = json.loads((ROOT / "docs/grafana/pdpanel.json").read_text())
RULES = yaml.safe_load((ROOT / "docs/grafana/alerts.yaml").read_text())["groups"]
PAGES = sorted((Path(__file__).parent / "telemetry" / "pages").glob("*.txt"))

_FUNCTIONS = frozenset(
    "sum count by on or and without ignoring rate increase histogram_quantile max min vector label_values".split()
)
_OF_PROMETHEUS = frozenset({"up"})


def metric_names(expression: str) -> set[str]:
    """Returns the names of metrics in a PromQL expression: what is left without strings, labels, ranges and groups."""
    text = re.sub(r'"[^"]*"', "", expression)
    text = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", text)
    text = re.sub(r"\b(by|on|without|ignoring)\s*\([^)]*\)", "", text)
    text = re.sub(r"label_values\(([^,)]*),[^)]*\)", r"\1", text)
    return set(re.findall(r"[a-zA-Z_:][a-zA-Z0-9_:]*", text)) - _FUNCTIONS


def is_balanced(expression: str) -> bool:
    open_ = []
    for sign in re.sub(r'"[^"]*"', "", expression):
        if sign in "([{":
            open_.append(sign)
        elif sign in ")]}" and (not open_ or open_.pop() + sign not in ("()", "[]", "{}")):
            return False
    return not open_


def expressions() -> Iterator[str]:
    for panel in BOARD["panels"]:
        yield from (target["expr"] for target in panel.get("targets", []))
    yield from (one["query"]["query"] for one in BOARD["templating"]["list"] if one["type"] == "query")
    yield from (rule["expr"] for group in RULES for rule in group["rules"])


def known_names() -> set[str]:
    names = set(FAMILIES) | _OF_PROMETHEUS
    for page in PAGES:
        for family in text_string_to_metric_families(page.read_text()):
            names |= {sample.name for sample in family.samples}
    return names


def test_reader_of_expressions() -> None:
    found = metric_names('sum by (le) (rate(a:b_bucket{x="c"}[5m])) > 3 and on (run) d or vector(0)')
    assert found == {"a:b_bucket", "d"}
    assert not is_balanced("sum(rate(a[5m])")


@pytest.mark.skipif(not PAGES, reason="the recorded /metrics pages are missing")
def test_every_metric_is_on_a_real_page() -> None:
    used = {name for text in expressions() for name in metric_names(text)}
    assert len(used) > 25
    assert used <= known_names(), used - known_names()


def test_every_metric_of_the_panel_is_drawn_or_watched() -> None:
    used = {name for text in expressions() for name in metric_names(text)}
    left_out = {name for name in FAMILIES if name not in used}
    # Told for people who search, and sums of what is drawn.
    assert left_out <= {
        "pdpanel_processes",
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_start_time_seconds",
    }


def test_expressions_are_closed() -> None:
    for text in expressions():
        assert is_balanced(text), text


def test_labels_in_use_exist() -> None:
    labels = {"run", "process", "role", "state", "quantile", "prefill", "decode", "link", "direction", "job", "le"}
    labels |= {"instance", "severity"}
    for text in expressions():
        for inside in re.findall(r"\{([^}]*)\}", text):
            assert {part.strip() for part in re.findall(r'([a-z_]+)\s*[=!]~?"', inside)} <= labels


def test_rules_have_what_prometheus_asks_for() -> None:
    names = []
    for group in RULES:
        assert set(group) == {"name", "rules"}
        for rule in group["rules"]:
            assert (
                {"alert", "expr", "labels", "annotations"}
                <= set(rule)
                <= {
                    *("alert", "expr", "for", "labels", "annotations"),
                }
            )
            assert re.fullmatch(r"[A-Z][A-Za-z]+", rule["alert"])
            assert re.fullmatch(r"\d+[smh]", rule.get("for", "1m"))
            assert rule["labels"]["severity"] in ("warning", "critical")
            assert rule["annotations"]["summary"].endswith(".")
            for text in rule["annotations"].values():
                assert text.count("{{") == text.count("}}")
            names.append(rule["alert"])
    assert len(set(names)) == len(names) >= 8


def test_panels_lie_beside_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in BOARD["panels"]:
        place: dict[str, Any] = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells
