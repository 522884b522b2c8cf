from __future__ import annotations

from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pdpanel.panel.web.api import add_error_answers
from pdpanel.panel.web.port import DeployForm
from pdpanel.panel.web.range_routes import range_routes
from simulated_source import SimulatedSource


@pytest.fixture
def source(tmp_path: Path) -> SimulatedSource:
    return SimulatedSource(tmp_path, clock=lambda: 10_000.0)


@pytest.fixture
def client(source: SimulatedSource) -> TestClient:
    app = FastAPI()
    add_error_answers(app)
    app.include_router(range_routes(source))
    return TestClient(app)


def test_stretch_has_columns_of_the_groups(client: TestClient, source: SimulatedSource) -> None:
    run = source.start(DeployForm("pd", "m", 1, 1, "tcp"))
    source.remember(run, 100)
    said = client.get(f"/api/runs/{run}/range?from=9900&to=10000&groups=kv,gpu&points=50").json()
    assert said["step_s"] == 2
    assert {one["group"] for one in said["series"]} == {"kv", "gpu"}
    assert len(said["times"]) == 50
    assert said["times"] == sorted(said["times"])
    assert [len(column) for column in said["columns"]] == [50] * len(said["series"])
    whole = client.get(f"/api/runs/{run}/range?from=9900&to=10000").json()
    assert len(whole["series"]) > len(said["series"])


@pytest.mark.parametrize(
    "query",
    ["from=5&to=5", "from=9&to=5", "from=nan&to=5", "from=0&to=1e300", "from=a&to=5", "to=5", "from=1&to=2&points=1"],
)
def test_wrong_times_are_one_sentence(client: TestClient, source: SimulatedSource, query: str) -> None:
    run = source.start(DeployForm("pd", "m", 1, 1, "tcp"))
    answer = client.get(f"/api/runs/{run}/range?{query}")
    assert answer.status_code in (400, 422)
    assert answer.json()["error"].endswith(".")


def test_unknown_run(client: TestClient) -> None:
    assert client.get("/api/runs/nobody/range?from=1&to=2").status_code == 404
