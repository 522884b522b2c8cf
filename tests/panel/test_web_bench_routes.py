"""The REST routes of the Benchmark tab: bounds, one sentence for each mistake, and a real load through them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from pdpanel.panel.web.api import add_error_answers
from pdpanel.panel.web.attach_port import AttachForm
from pdpanel.panel.web.bench_routes import bench_routes
from pdpanel.panel.web.port import DeployForm
from pretended_server import PretendedServer
from simulated_source import SimulatedSource
from starlette.testclient import TestClient

FORM = DeployForm("pd", "m", 1, 2, "tcp")


@pytest.fixture(scope="module")
def server() -> Iterator[PretendedServer]:
    with PretendedServer() as server:
        yield server


@pytest.fixture
def source(tmp_path: Path, server: PretendedServer) -> SimulatedSource:
    return SimulatedSource(tmp_path, server.url, ready_after_s=0.0)


@pytest.fixture
def client(source: SimulatedSource) -> Iterator[TestClient]:
    app = FastAPI()
    add_error_answers(app)
    app.include_router(bench_routes(source))
    with TestClient(app) as client:
        yield client


def ended(client: TestClient, load: str) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while (entry := client.get(f"/api/loads/{load}").json())["state"] in ("starting", "running"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return entry


def test_a_load_of_a_run_knows_its_deployment(client: TestClient, source: SimulatedSource) -> None:
    run = source.start(FORM)
    body = {"run": run, "requests": 4, "input": "8", "output": "5", "name": "mine"}
    answer = client.post("/api/loads", json=body)
    assert answer.status_code == 202
    load = answer.json()["load"]
    entry = ended(client, load)
    assert (entry["state"], entry["name"], entry["run"]) == ("finished", "mine", run)
    assert (entry["mode"], entry["transport"]) == ("1P2D", "tcp")
    assert entry["row_count"] == len(entry["rows"])
    assert client.get(f"/api/loads/{load}?since={entry['row_count']}").json()["rows"] == []
    assert [one["id"] for one in client.get(f"/api/loads?run={run}").json()["loads"]] == [load]
    assert client.get("/api/loads?run=other").json()["loads"] == []
    exported = client.get(f"/api/loads/export?ids={load}&form=md")
    assert "| mine |" in exported.text
    assert "attachment" in exported.headers["content-disposition"]
    assert client.post(f"/api/loads/{load}/remove", json={}).status_code == 202
    assert client.get(f"/api/loads/{load}").status_code == 404


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "names no run and no URL"),
        ({"run": "x", "url": "http://h"}, "names a run and a URL"),
        ({"run": "x"}, "there is no such run"),
        ({"url": "foo"}, "is no URL of a server"),
        ({"url": "http://h", "arrival": "poisson", "rate": 0}, "rate = 0"),
        ({"url": "http://h", "arrival": "poisson"}, "rate = None"),
        ({"url": "http://h", "input": "x"}, "input = 'x'"),
        ({"url": "http://h", "concurrency": 100_000}, "concurrency = 100000"),
        ({"url": "http://h", "duration_s": 1e9}, "duration_s = 1000000000.0"),
        ({"url": "http://h", "argv": ["rm"]}, "argv"),
        ({"url": "http://h", "arrival": "later"}, "arrival = 'later'"),
    ],
)
def test_a_mistake_is_one_sentence_with_its_field(client: TestClient, body: dict[str, object], said: str) -> None:
    answer = client.post("/api/loads", json=body)
    assert 400 <= answer.status_code < 500
    assert said in answer.json()["error"]
    assert "\n" not in answer.json()["error"]
    assert client.get("/api/loads").json()["loads"] == []


def test_a_run_that_is_not_ready_takes_no_load(client: TestClient, source: SimulatedSource) -> None:
    run = source.start(FORM)
    source.stop(run)
    answer = client.post("/api/loads", json={"run": run})
    assert answer.status_code == 409
    assert "is stopped; wait until it is ready" in answer.json()["error"]


def test_the_commands_name_the_runs_router_and_model(
    client: TestClient, source: SimulatedSource, server: PretendedServer
) -> None:
    run = source.start(FORM)
    found = client.post("/api/loads/commands", json={"run": run}).json()["commands"]
    assert [one["program"] for one in found] == ["pdpanel load", "SGLang bench_serving", "vllm bench serve"]
    assert all(server.url in one["command"] for one in found)
    assert "--model m " in found[1]["command"]


def test_files_of_other_programs_are_added(client: TestClient) -> None:
    record = {"request_throughput": 3.0, "input_throughput": 5.0, "max_concurrency": 4}
    raw = {"Content-Type": "application/octet-stream"}
    answer = client.post("/api/loads/import?name=r.jsonl", content=json.dumps(record), headers=raw)
    assert answer.status_code == 201
    (entry,) = client.get("/api/loads").json()["loads"]
    assert (entry["kind"], entry["id"]) == ("imported", answer.json()["loads"][0])
    refused = client.post("/api/loads/import?name=x", content=b"hello", headers=raw)
    assert refused.status_code == 400
    assert "holds no result" in refused.json()["error"]


def test_an_evaluation_without_its_package_names_the_command(client: TestClient, tmp_path: Path) -> None:
    abilities = client.get("/api/loads/abilities").json()
    assert abilities["install"] == "pip install 'pdpanel[accuracy]'"
    answer = client.post("/api/loads/accuracy", json={"url": "http://h", "questions": str(tmp_path / "none")})
    assert answer.status_code == 400
    assert "No such file" in answer.json()["error"]


def test_results_in_attached_logs_are_offered_and_taken_over(client: TestClient, source: SimulatedSource) -> None:
    assert client.get("/api/loads/found").json() == {"found": []}
    run = source.attach.attach(AttachForm(router="http://127.0.0.1:9"))
    (offered,) = client.get("/api/loads/found").json()["found"]
    assert (offered["run"], offered["results"]) == (run, 2)
    taken = client.post("/api/loads/found", json={"run": run, "log": offered["log"]})
    assert taken.status_code == 201
    listed = {entry["id"]: entry for entry in client.get("/api/loads", params={"run": run}).json()["loads"]}
    assert sorted(taken.json()["loads"]) == sorted(listed)
    assert {entry["columns"]["output_tokens_per_s"] for entry in listed.values()} == {451.0, 452.0}
    assert client.post("/api/loads/found", json={"run": run}).status_code == 422


@pytest.mark.parametrize("ids", ["", "load-20260101-000000-abcd", "../etc/passwd", ",".join(["x"] * 30)])
def test_an_export_of_nothing_is_a_sentence(client: TestClient, ids: str) -> None:
    answer = client.get("/api/loads/export", params={"ids": ids, "form": "csv"})
    assert answer.status_code in (400, 404)
    assert answer.json()["error"]


def test_a_folder_that_cannot_be_written_is_a_sentence(
    client: TestClient, tmp_path: Path, server: PretendedServer
) -> None:
    (tmp_path / "loads").write_text("in the way")
    answer = client.post("/api/loads", json={"url": server.url})
    assert answer.status_code == 500
    assert "cannot be kept or read" in answer.json()["error"]
