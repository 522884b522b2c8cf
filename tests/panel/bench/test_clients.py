from __future__ import annotations

import pytest
from pdpanel.panel.bench.answer import Answer
from pdpanel.panel.bench.client import HUNG
from pdpanel.panel.bench.clients import ClientsPlan, ClientsResult, Round

RIGHT = Answer(200, "ab", (1, 2), "length", ends=1)
ANSWERS = {
    "wrong": Answer(200, "ac", (1, 3), "length", ends=1),
    "failed": Answer(502, error="gone", ends=1),
    "hung": Answer(0, faults=(HUNG,)),
    "dropped": Answer(0, faults=("the connection broke",)),
}


def made(seconds: float, completed: int, refused: int = 0) -> Round:
    done = Round(seconds=seconds)
    for _ in range(completed):
        done.add("x", RIGHT, RIGHT)
    for _ in range(refused):
        done.add("x", Answer(503, error="full", ends=1, retry_after="1"), RIGHT)
    return done


def result(crowd: list[Round], few: list[Round]) -> ClientsResult:
    return ClientsResult(ClientsPlan(), crowd, few)


def test_speeds_are_medians_and_counts_are_sums() -> None:
    crowd = [made(2.0, 18, 5), made(1.0, 9, 7), made(90.0, 9)]
    few = [made(1.0, 10), made(1.0, 10), made(50.0, 10)]
    line = result(crowd, few).line()
    assert (line["completed"], line["refused"], line["accepted"]) == (36, 12, 36)
    assert (line["completed_per_s"], line["completed_per_s_32_clients"], line["ratio"]) == (9.0, 10.0, 0.9)
    assert result(crowd, few).ok
    assert not result([made(2.0, 16)], few).ok  # too slow
    assert not result([made(0.0, 0, 9)], few).ok  # nobody was served


@pytest.mark.parametrize("kind", ANSWERS)
def test_each_kind_of_trouble_is_counted_and_fails(kind: str) -> None:
    crowd = made(1.0, 10)
    crowd.add("x", ANSWERS[kind], RIGHT)
    found = result([crowd], [made(1.0, 10)])
    line = found.line()
    assert line[{"wrong": "wrong_tokens"}.get(kind, kind)] == 1
    assert not found.ok
