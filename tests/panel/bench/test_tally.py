from __future__ import annotations

import pytest
from pdpanel.panel.bench.answer import Answer
from pdpanel.panel.bench.cases import make_cases
from pdpanel.panel.bench.tally import MUST_BE_ZERO, Tally

RIGHT = Answer(200, "ab", (1, 2), "length", ends=1)
WRONG = Answer(200, "ac", (1, 3), "length", ends=1)
REFUSED = Answer(503, error="full", ends=1, retry_after="1")
FAILED = Answer(502, error="gone", ends=1)
BROKEN = Answer(0, faults=("the connection broke",))


def test_every_request_is_counted_once() -> None:
    tally = Tally()
    for answer in (RIGHT, RIGHT, WRONG, REFUSED, FAILED, BROKEN, None):
        tally.add("x", answer, RIGHT)
    line = tally.line()
    assert (line["requests"], line["completed"], line["refused"], line["failed"], line["left"]) == (7, 3, 1, 1, 1)
    assert (line["final_events"], line["missing_final"], line["wrong_tokens"]) == (5, 1, 1)
    assert not tally.ok
    assert len(tally.problems) == 2


@pytest.mark.parametrize("name", MUST_BE_ZERO)
def test_one_of_what_must_be_zero_is_a_failure(name: str) -> None:
    tally = Tally()
    assert not tally.ok  # nothing was completed
    tally.add("x", RIGHT, RIGHT)
    assert tally.ok
    if name == "missing_final":
        tally.add("x", BROKEN, RIGHT)
    else:
        setattr(tally, name, 1)
    assert tally.line()[name] == 1
    assert not tally.ok


def test_cases_are_fixed_and_of_every_kind() -> None:
    cases = make_cases(24)
    assert cases == make_cases(24)
    assert len({case.name for case in cases}) == 24
    kinds = {(case.route, case.stream, "seeded" in case.name) for case in cases}
    assert {route for route, _, _ in kinds} == {"/generate", "/v1/chat/completions", "/v1/completions"}
    for route in ("/generate", "/v1/chat/completions", "/v1/completions"):
        assert {seeded for found, _, seeded in kinds if found == route} == {True, False}
        assert {stream for found, stream, _ in kinds if found == route} == {True, False}
    assert make_cases(24, longest=4)[5].body["max_tokens"] == 4
