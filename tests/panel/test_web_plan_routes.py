"""The Plan and Export tabs' routes: what they answer, what they refuse, and what they never touch."""

from __future__ import annotations

import asyncio
import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from pdpanel.panel.export.formats import FORMATS
from pdpanel.panel.own_presets import own_presets
from pdpanel.panel.web.app import build_api
from pdpanel.panel.web.guard import Access, Guard
from pdpanel.panel.web.plan_body import MOST_BYTES
from pdpanel.panel.web.plan_routes import plan_routes
from pdpanel.panel.web.plan_starts import default_text
from pdpanel.presets import preset_names
from simulated_source import SimulatedSource
from starlette.testclient import TestClient

TOKEN = "t0ken"
COMMA = (
    "python -m sglang_router.launch_router --pd-disaggregation --prefill http://10.0.0.1:30000 8998 "
    "--decode http://10.0.0.1:30001,http://10.0.0.2:30001 --host 0.0.0.0 --port 8000\n"
)
DUMP = "model: m\nprefill: {count: 1}\ndecode: {count: 1}\nhosts: {a: {dump: /etc/passwd}}\n"


@pytest.fixture
def source(tmp_path: Path) -> SimulatedSource:
    return SimulatedSource(tmp_path, ready_after_s=0)


@pytest.fixture
def client(source: SimulatedSource, tmp_path: Path) -> Iterator[TestClient]:
    access = Access(frozenset({"testserver"}), frozenset({"http://testserver"}), TOKEN, "pdpanel-80")
    app = Guard(build_api(source, poll_s=5, config_dir=tmp_path / "config"), access)
    with TestClient(app, headers={"Authorization": f"Bearer {TOKEN}"}) as client:  # type: ignore[arg-type]
        yield client


POSTS = ["preview", "diff", "lint", "import", "presets", "start-text", "export", "export.zip", "offer", "start"]


@pytest.mark.parametrize("route", POSTS)
def test_the_guard_and_the_body_are_checked(client: TestClient, source: SimulatedSource, route: str) -> None:
    url = f"/api/plan/{route}"
    assert client.post(url, json={}, headers={"Authorization": "Bearer x"}).status_code == 401
    assert client.post(url, json={}, headers={"Origin": "http://evil.test"}).status_code == 403
    assert client.post(url, content=b"{}", headers={"Content-Type": "text/plain"}).status_code == 415
    assert client.post(url, content=b"{}", headers={"Content-Type": "application/octet-stream"}).status_code == 400
    for body in (b"{", b"[]", b'{"text": 1}', b'{"nothing": "of this"}', b"\xff", b"[" * 100_000):
        answer = client.post(url, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 400, body[:20]
        assert "\n" not in answer.json()["error"]
    answer = client.post(url, json={"text": "x" * MOST_BYTES})
    assert answer.status_code == 400
    assert "more than 1 MiB" in answer.json()["error"]
    assert source.calls == []


def test_the_form_names_dialects_and_the_default(client: TestClient) -> None:
    form = client.get("/api/plan/form").json()
    assert {"bundled"} <= {one["name"] for one in form["dialects"]}
    assert form["default"] == default_text()
    assert form["saves"] is True


def test_a_preview_tells_how_long_it_took(client: TestClient) -> None:
    answer = client.post(
        "/api/plan/preview", json={"text": default_text(), "edits": [{"path": "prefill.count", "shown": "2"}]}
    )
    assert answer.json()["error"] is None
    assert re.fullmatch(r"plan;dur=[0-9.]+", answer.headers["Server-Timing"])
    assert answer.headers["Cache-Control"] == "no-store"


def test_an_answer_that_nobody_waits_for_is_not_worked_out(source: SimulatedSource) -> None:
    app = FastAPI()
    app.include_router(plan_routes(source, None))
    body = [{"type": "http.request", "body": b'{"text": "model: m"}', "more_body": False}]
    headers = [(b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/api/plan/preview", "query_string": b"", "headers": headers}
    sent: list[Any] = []

    async def receive() -> Any:
        return body.pop() if body else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 204


def test_a_lone_surrogate_is_no_accident(client: TestClient) -> None:
    body = b'{"text": "model: \\ud800"}'
    answer = client.post("/api/plan/preview", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (200, 400)


def test_presets_go_by_listed_names(client: TestClient, tmp_path: Path) -> None:
    listed = client.get("/api/plan/starts").json()["starts"]
    assert [one["name"] for one in listed] == preset_names()
    assert {"name", "about", "model", "engine", "dialect", "hardware", "verified", "own", "usable"} <= set(listed[0])
    text = client.post("/api/plan/start-text", json={"name": "smollm2-1p1d"}).json()["text"]
    assert client.post("/api/plan/preview", json={"text": text}).json()["error"] is None
    (tmp_path / "secret.yaml").write_text("model: secret")
    for name in ("../secret", "/etc/passwd", str(tmp_path / "secret"), "nothing"):
        for own in (False, True):
            answer = client.post("/api/plan/start-text", json={"name": name, "own": own})
            assert answer.status_code in (400, 404)
            assert "secret" not in answer.json()["error"] or "secret" in name


def test_a_preset_is_saved_listed_and_taken(client: TestClient, tmp_path: Path) -> None:
    body = {"name": "mine", "text": default_text()}
    path = client.post("/api/plan/presets", json=body).json()["path"]
    assert path == str(tmp_path / "config" / "presets" / "mine.yaml")
    other = client.post("/api/plan/presets", json={**body, "text": default_text().replace("SmolLM2", "Other")})
    assert other.json() == {"path": "", "taken": True}
    assert client.post("/api/plan/presets", json={**body, "replace": True}).status_code == 200
    first = client.get("/api/plan/starts").json()["starts"][0]
    assert (first["name"], first["own"], first["model"]) == ("mine", True, "SmolLM2-135M-Instruct")
    assert client.post("/api/plan/start-text", json={"name": "mine", "own": True}).json()["text"]
    assert client.post("/api/plan/presets", json={"name": "../x", "text": default_text()}).status_code == 400
    assert client.post("/api/plan/presets", json={"name": "bad", "text": "model: ["}).status_code == 400
    assert [each.name for each in own_presets(tmp_path / "config")] == ["mine"]


def test_a_panel_without_a_config_folder_keeps_no_presets(source: SimulatedSource) -> None:
    with TestClient(build_api(source, poll_s=5)) as client:
        assert client.get("/api/plan/form").json()["saves"] is False
        answer = client.post("/api/plan/presets", json={"name": "mine", "text": default_text()})
        assert answer.status_code == 400


def test_a_pasted_command_is_linted_and_corrected(client: TestClient) -> None:
    report = client.post("/api/plan/lint", json={"text": COMMA}).json()
    assert report["kind"] == "shell"
    assert any(one["severity"] == "error" and "10.0.0.2:30001" in str(one) for one in report["findings"])
    assert "--decode http://10.0.0.1:30001 --decode http://10.0.0.2:30001" in report["corrected"]
    right = client.post("/api/plan/lint", json={"text": report["corrected"]}).json()
    assert right["corrected"] is None


def test_a_pasted_text_that_is_nothing_makes_no_deployment(client: TestClient) -> None:
    made = client.post("/api/plan/import", json={"text": "echo hello", "name": "a b.sh"}).json()
    assert made["text"] is None
    assert isinstance(made["findings"], list)


@pytest.mark.parametrize("route", ["offer", "start", "export", "export.zip"])
def test_no_route_opens_a_dump_that_a_text_names(client: TestClient, source: SimulatedSource, route: str) -> None:
    body = {"text": DUMP} | ({"format": next(iter(FORMATS))} if route.startswith("export") else {})
    answer = client.post(f"/api/plan/{route}", json=body)
    assert answer.status_code == 400
    assert "hosts.a.dump" in answer.json()["error"]
    assert source.calls == []


@pytest.mark.parametrize("name", FORMATS)
def test_an_export_is_the_same_in_the_list_and_in_the_zip(client: TestClient, name: str) -> None:
    body = {"text": default_text(), "format": name}
    answer = client.post("/api/plan/export", json=body)
    if answer.status_code == 400:
        pytest.skip(answer.json()["error"])
    files = {file["path"]: file["text"] for file in answer.json()["files"]}
    assert "deployment.yaml" in files
    response = client.post("/api/plan/export.zip", json=body)
    assert response.headers["content-type"] == "application/zip"
    assert response.headers["content-disposition"] == f'attachment; filename="pd-{name}.zip"'
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert {entry: archive.read(entry).decode() for entry in archive.namelist()} == files


def test_an_unknown_format_is_one_sentence(client: TestClient) -> None:
    known = {one["name"] for one in client.get("/api/plan/formats").json()["formats"]}
    assert known == set(FORMATS)
    answer = client.post("/api/plan/export", json={"text": default_text(), "format": "../x"})
    assert answer.status_code == 400


def test_a_start_needs_the_agreement_to_what_was_shown(client: TestClient, source: SimulatedSource) -> None:
    text = default_text() + "env: {LD_PRELOAD: /tmp/x.so}\n"
    offer = client.post("/api/plan/offer", json={"text": text}).json()
    assert offer["needs_consent"] is True
    assert any(process["env"].get("LD_PRELOAD") == "/tmp/x.so" for process in offer["processes"])
    assert client.post("/api/plan/start", json={"text": text}).status_code == 409
    other = client.post("/api/plan/offer", json={"text": default_text() + "env: {A: b}\n"}).json()
    assert client.post("/api/plan/start", json={"text": text, "consent": other["consent"]}).status_code == 409
    assert source.calls == []
    run = client.post("/api/plan/start", json={"text": text, "consent": offer["consent"]}).json()["run"]
    assert [one["id"] for one in client.get("/api/runs").json()["runs"]] == [run]


def test_nics_of_this_host_are_offered(client: TestClient, tmp_path: Path) -> None:
    (tmp_path / "host").write_text("eight_pairs")
    found: dict[str, Any] = client.get("/api/plan/nics").json()
    assert [nic["name"] for nic in found["nics"]][:2] == ["mlx5_0", "mlx5_1"]
    assert {nic["state"] for nic in found["nics"]} <= {"good", "warn", "bad", "unknown", "off", "plain"}
    assert found["map"]["0"] == ["mlx5_0"]
    (tmp_path / "host").write_text("nothing")
    assert client.get("/api/plan/nics").json() == {"nics": [], "map": {}}
