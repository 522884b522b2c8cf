from __future__ import annotations

import random

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.web.plan_diff import differences
from pdpanel.panel.web.plan_starts import default_text

BEFORE = default_text()
AFTER = BEFORE + "router: {port: 9000}\n"


def test_of_texts() -> None:
    found = differences(BEFORE, AFTER, "yaml")
    assert (found["added"], found["removed"]) == (1, 0)
    assert found["lines"][-1] == {"sign": "+", "text": "router: {port: 9000}"}
    assert {line["sign"] for line in found["lines"]} == {"@", "+", " "}
    assert differences("- a\n--- b", "++ c", "yaml")["lines"][1:] == [
        {"sign": "-", "text": "- a"},
        {"sign": "-", "text": "--- b"},
        {"sign": "+", "text": "++ c"},
    ]
    assert differences(BEFORE, BEFORE, "yaml") == {"lines": [], "added": 0, "removed": 0}


def test_of_commands_process_by_process() -> None:
    found = differences(BEFORE, AFTER, "commands")
    assert found["lines"][0] == {"sign": "@", "text": "router"}
    signed = [line["text"].strip(" \\") for line in found["lines"] if line["sign"] in "+-"]
    assert "--port 8000" in signed
    assert "--port 9000" in signed
    assert differences(BEFORE, BEFORE, "commands")["lines"] == []
    two = BEFORE.replace("decode:", "served_model_name: x\ndecode:")
    assert {"sign": "+", "text": "  --served-model-name x \\"} in differences(BEFORE, two, "commands")["lines"]


def test_a_process_that_is_new_is_added_as_a_whole() -> None:
    more = "model: m\nprefill: {count: 1}\ndecode: {count: 2}\n"
    lines = differences(more.replace("count: 2", "count: 1"), more, "commands")["lines"]
    start = lines.index({"sign": "@", "text": "decode-1"})
    assert lines[start + 1]["sign"] == "+"
    back = differences(more, more.replace("count: 2", "count: 1"), "commands")["lines"]
    assert back[back.index({"sign": "@", "text": "decode-1"}) + 1]["sign"] == "-"


def test_what_makes_no_plan_has_no_commands_to_compare() -> None:
    with pytest.raises(ConfigError):
        differences(BEFORE, "model: [", "commands")


def test_texts_that_would_take_minutes_are_refused() -> None:
    one, other = ("\n".join(str(random.randrange(150)) for _ in range(50_000)) for _ in range(2))
    with pytest.raises(ConfigError, match="too large to compare"):
        differences(one, other, "yaml")
    found = differences("", "\n".join(map(str, range(20_000))), "yaml")
    assert (len(found["lines"]), found["added"]) == (4000, 20_000)
