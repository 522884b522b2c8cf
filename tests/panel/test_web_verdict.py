"""Verdicts for browsers: made once for all who ask, the same words on the route and on the command line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pdpanel.engine.errors import NotFoundError
from pdpanel.panel.verdict.values import Limit, Verdict
from pdpanel.panel.web.app import build_api
from pdpanel.panel.web.verdict_source import RunVerdicts
from simulated_source import SimulatedSource
from starlette.testclient import TestClient


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_many_who_ask_cost_one_verdict_in_two_seconds() -> None:
    made: list[str] = []
    clock = Clock()

    def look(run_id: str) -> Verdict:
        made.append(run_id)
        return Verdict(Limit.PREFILL, 1.0, f"Verdict {len(made)}.", gains={"prefill": 1.5})

    verdicts = RunVerdicts(look, clock)
    assert {str(verdicts.now("a")["sentence"]) for _ in range(20)} == {"Verdict 1."}
    verdicts.now("b")
    assert made == ["a", "b"]
    clock.now += 2.0
    assert verdicts.now("a")["sentence"] == "Verdict 3."


def test_an_unknown_run_is_refused() -> None:
    def look(run_id: str) -> Verdict:
        raise NotFoundError("run", run_id, "is not a run of this user", "name one")

    with pytest.raises(NotFoundError):
        RunVerdicts(look).now("x")


def test_runs_that_nobody_asks_about_are_forgotten() -> None:
    made: list[str] = []

    def look(run_id: str) -> Verdict:
        made.append(run_id)
        return Verdict(Limit.NOTHING, 1.0, "Nothing limits it: no load now.")

    verdicts = RunVerdicts(look, Clock())
    for number in range(100):
        verdicts.now(str(number))
    verdicts.now("0")
    assert made[-1] == "0"


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    with TestClient(build_api(SimulatedSource(tmp_path, ready_after_s=0.0))) as client:
        yield client


def test_the_route_tells_all_of_it(client: TestClient) -> None:
    answer = client.get("/api/runs/r/verdict")
    assert answer.status_code == 200
    found = answer.json()
    assert found["limit"] == "prefill"
    assert found["suggestions"][0]["changes"] == {"prefill.count": 2}
    assert found["evidence"][1] == {
        "series": "proc/prefill/queued",
        "value": 0.97,
        "meaning": "Time in which prefill has a prompt to compute",
        "unit": "share",
        "of": 1.0,
    }
