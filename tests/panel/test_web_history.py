from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from ended_runs import make_run
from fastapi import FastAPI
from pdpanel.panel.config import PanelConfig
from pdpanel.panel.report.gather import RunReports
from pdpanel.panel.runner.lifecycle import RunState
from pdpanel.panel.runs import Runs
from pdpanel.panel.web.api import add_error_answers
from pdpanel.panel.web.history_routes import history_routes
from pdpanel.panel.web.port import Source
from pdpanel.panel.web.report_routes import report_routes
from simulated_history import SimulatedHistory, SimulatedReports
from starlette.testclient import TestClient


def client_of(history: object, reports: object) -> TestClient:
    source = cast(Source, SimpleNamespace(history=history, reports=reports))
    app = FastAPI()
    add_error_answers(app)
    app.include_router(history_routes(source))
    app.include_router(report_routes(source))
    return TestClient(app)


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def client(state_dir: Path) -> Iterator[TestClient]:
    runs = Runs(PanelConfig(state_dir, state_dir.parent / "cache", state_dir.parent / "config"))
    with client_of(runs.history, RunReports(runs, probes_host=False)) as client:
        yield client


@pytest.fixture
def simulated() -> Iterator[TestClient]:
    with client_of(SimulatedHistory(), SimulatedReports()) as client:
        yield client


def test_the_list_has_the_fields_that_the_page_draws(client: TestClient, state_dir: Path) -> None:
    make_run(state_dir, "pd-1")
    (run,) = client.get("/api/history").json()["runs"]
    assert (run["id"], run["processes"]["prefill"], run["peaks"]["running"]) == ("pd-1", 1, 239.0)


def test_a_simulated_list_has_the_same_fields(client: TestClient, simulated: TestClient, state_dir: Path) -> None:
    make_run(state_dir, "pd-1", samples=0)

    def fields(answer: Any) -> set[str]:
        return set(answer.json()["runs"][0])

    assert fields(client.get("/api/history")) == fields(simulated.get("/api/history"))


def test_removing_names_runs_that_have_ended(client: TestClient, state_dir: Path) -> None:
    make_run(state_dir, "pd-1")
    answer = client.post("/api/history/remove", json={"runs": ["pd-1"]})
    assert answer.json()["runs"] == ["pd-1"] and answer.json()["freed_bytes"] > 24_000
    gone = client.post("/api/history/remove", json={"runs": ["pd-1"]})
    assert gone.status_code == 404 and gone.json()["error"].startswith("run = 'pd-1': ")


@pytest.mark.parametrize("body", [{}, {"runs": []}, {"runs": "pd-1"}, {"runs": [1]}, {"runs": ["a"], "path": "/"}])
def test_a_body_that_names_no_runs_is_refused(client: TestClient, body: dict[str, object]) -> None:
    assert client.post("/api/history/remove", json=body).status_code == 422


def test_what_is_shown_to_be_freed_is_freed(client: TestClient, state_dir: Path) -> None:
    rundir = make_run(state_dir, "pd-1")
    make_run(state_dir, "pd-2", state=RunState.FAILED)
    shown = client.get("/api/prune", params={"days": 1, "keep": 1}).json()
    assert [(item["kind"], item["name"]) for item in shown["items"]] == [("run", "pd-1")]
    assert set(shown["items"][0]) == {"kind", "name", "size_bytes", "why"}
    assert rundir.state.exists()
    done = client.post("/api/prune", json={"days": 1, "keep": 1}).json()
    assert [item["name"] for item in done["items"]] == ["pd-1"] and done["size_bytes"] == shown["size_bytes"]
    assert not rundir.path.exists()
    assert [item["name"] for item in client.post("/api/prune", json={"runs": ["pd-2"]}).json()["items"]] == ["pd-2"]


def test_no_more_is_freed_than_the_person_chose(client: TestClient, state_dir: Path) -> None:
    chosen, other = make_run(state_dir, "pd-1"), make_run(state_dir, "pd-2")
    wish = {"days": 1, "only": [{"kind": "run", "name": "pd-1"}, {"kind": "run", "name": "pd-9"}]}
    assert [item["name"] for item in client.post("/api/prune", json=wish).json()["items"]] == ["pd-1"]
    assert (chosen.path.exists(), other.path.exists()) == (False, True)
    assert client.post("/api/prune", json={"days": 1, "only": []}).json()["items"] == []
    assert other.path.exists()
    assert client.post("/api/prune", json={"only": [{"kind": "file", "name": "/"}]}).status_code == 422


@pytest.mark.parametrize("query", ["days=-1", "keep=x", "days=nan", "path=/"])
def test_a_wish_that_makes_no_sense_is_refused(client: TestClient, query: str) -> None:
    assert client.get(f"/api/prune?{query}").status_code == 422


def test_a_report_is_listed_and_comes_as_a_zip_file(client: TestClient, state_dir: Path) -> None:
    make_run(state_dir, "pd-1")
    listed = client.get("/api/runs/pd-1/report").json()
    answer = client.post("/api/runs/pd-1/report")
    assert answer.headers["content-disposition"] == 'attachment; filename="pd-1-report.zip"'
    names = zipfile.ZipFile(io.BytesIO(answer.content)).namelist()
    assert [file["name"] for file in listed["files"]] == names
    assert listed["bytes"] == sum(file["bytes"] for file in listed["files"]) > 1000
    assert client.get("/api/runs/pd-9/report").status_code == 404


def test_a_report_says_what_was_taken_out(simulated: TestClient) -> None:
    listed = simulated.get("/api/runs/demo-1/report").json()
    assert listed["redacted"] == {"secret": 1}
    assert [file["redacted"] for file in listed["files"]] == [{}, {"secret": 1}]
