"""docs/failures.md: the tests that it names exist, and it knows every failpoint and every count."""

from __future__ import annotations

import re
from pathlib import Path

from pdpanel.engine.failpoints import ACTIONS, POINTS
from pdpanel.panel.bench.tally import Tally

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "failures.md").read_text(encoding="utf-8")


def test_the_tests_that_it_names_exist() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TEXT)
    assert len(named) > 20
    for path, name in named:
        source = (ROOT / path).read_text(encoding="utf-8")
        assert re.search(rf"^(?:async )?(?:def|class) {name}\b", source, re.MULTILINE), (path, name)


def test_every_row_names_a_test() -> None:
    table = TEXT.split("| what happens |")[1].split("\n\n")[0].splitlines()[2:]
    assert len(table) > 15
    assert [row for row in table if "::" not in row] == []


def test_it_knows_every_failpoint_action_and_count() -> None:
    for word in (*POINTS, *(action for action in ACTIONS if action != "delay"), "delay(MILLISECONDS)", *Tally().line()):
        assert word in TEXT, word
