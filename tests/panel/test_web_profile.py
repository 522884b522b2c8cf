"""The routes of profiles and ranks: what the page asks for, and what is refused."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from pdpanel.panel.web.app import build_api
from simulated_source import SimulatedSource


@pytest.fixture
def source(tmp_path: Path) -> SimulatedSource:
    return SimulatedSource(tmp_path, ready_after_s=0)


@pytest.fixture
def client(source: SimulatedSource) -> Iterator[TestClient]:
    with TestClient(build_api(source)) as client:
        yield client


@pytest.fixture
def run(client: TestClient) -> str:
    form = {"mode": "pd", "model": "m", "prefill": 1, "decode": 1}
    return client.post("/api/runs", json=form).json()["run"]


def test_a_profile_from_its_beginning_to_its_page(client: TestClient, run: str) -> None:
    base = f"/api/runs/{run}/processes/decode-0/profile"
    assert client.get(base).json()["state"] == "idle"
    assert client.get(f"{base}/trace").status_code == 404
    assert client.post(f"{base}/start", json={}).json()["state"] == "profiling"
    assert client.post(f"{base}/start", json={}).status_code == 409
    assert client.post(f"{base}/stop", json={}).json()["state"] == "done"
    trace = client.get(f"{base}/trace?rank=0")
    assert trace.headers["content-type"] == "application/gzip" and "content-encoding" not in trace.headers
    assert f"{run}-decode-0-TP-0.trace.json.gz" in trace.headers["content-disposition"]
    assert b"traceEvents" in gzip.decompress(trace.content)
    assert client.get(f"{base}/summary").json()["steps"][0]["name"] == "decode step"
    runs = client.get("/api/runs").json()["runs"]
    assert {one["name"]: one["can_profile"] for one in runs[0]["processes"]} == {
        "prefill-0": True,
        "decode-0": True,
        "router": False,
    }


@pytest.mark.parametrize(
    ("path", "status"), [("router/profile", 404), ("x/profile", 404), ("decode-0/profile/trace?rank=-1", 422)]
)
def test_what_is_not_there_is_not_asked(client: TestClient, run: str, path: str, status: int) -> None:
    assert client.get(f"/api/runs/{run}/processes/{path}").status_code in {status, 400}


def test_an_action_is_start_or_stop_and_takes_nothing(client: TestClient, run: str) -> None:
    base = f"/api/runs/{run}/processes/decode-0/profile"
    assert client.post(f"{base}/restart", json={}).status_code in {400, 404, 405, 422}
    assert client.post(f"{base}/start", json={"output_dir": "/etc"}).status_code == 400
    assert client.get(base).json()["state"] == "idle"


def test_ranks_are_told_by_worker(client: TestClient, source: SimulatedSource, run: str) -> None:
    assert client.get(f"/api/runs/{run}/ranks").json() == {"workers": {}}
