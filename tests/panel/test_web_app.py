from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pdpanel.panel.web.app import build_api
from pdpanel.panel.web.guard import Access, Guard
from pdpanel.panel.web.port import DeployForm
from simulated_source import SimulatedSource
from starlette.testclient import TestClient

TOKEN = "t0ken"
FORM = DeployForm("pd", "SmolLM2-135M-Instruct", 1, 1, "mooncake")


async def _models(request: web.Request) -> web.Response:
    return web.json_response({"data": [{"id": "served-name"}]})


async def _chat(request: web.Request) -> web.StreamResponse:
    """Answers with what it was asked, one word an event; special prompts misbehave."""
    body = await request.json()
    prompt = body["messages"][0]["content"] if "messages" in body else body["prompt"]
    if prompt == "refuse":
        return web.json_response({"error": {"message": "too long"}}, status=400)
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)

    async def send(value: object) -> None:
        await response.write(b"data: " + json.dumps(value).encode() + b"\n\n")

    if prompt == "fail later":
        await send({"choices": [{"delta": {"content": "a"}}]})
        await send({"error": {"message": "the decode worker went away"}})
        return response
    if prompt == "garbage":
        await response.write(b"data: {not json\n\n")
        return response
    for word in f"{body['model']} {prompt}".split():
        choice = {"delta": {"content": word}} if "messages" in body else {"text": word}
        await send({"choices": [choice]})
    await send({"choices": [{"delta": {}, "finish_reason": "stop"}]})
    await send({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 7}})
    await response.write(b"data: [DONE]\n\n")
    return response


@pytest.fixture(scope="module")
def router_url() -> Iterator[str]:
    loop = asyncio.new_event_loop()
    app = web.Application()
    app.router.add_get("/v1/models", _models)
    app.router.add_post("/v1/chat/completions", _chat)
    app.router.add_post("/v1/completions", _chat)
    runner = web.AppRunner(app)
    loop.run_until_complete(runner.setup())
    loop.run_until_complete(web.TCPSite(runner, "127.0.0.1", 0).start())
    port = runner.addresses[0][1]
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield f"http://127.0.0.1:{port}"
    asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


@pytest.fixture
def source(tmp_path: Path, router_url: str) -> SimulatedSource:
    return SimulatedSource(tmp_path, router_url, ready_after_s=0)


@pytest.fixture
def client(source: SimulatedSource) -> Iterator[TestClient]:
    access = Access(
        hosts=frozenset({"testserver"}),
        origins=frozenset({"http://testserver"}),
        token=TOKEN,
        cookie="pdpanel-80",
    )
    app = Guard(build_api(source, poll_s=0.02), access)
    with TestClient(app, headers={"Authorization": f"Bearer {TOKEN}"}) as client:  # type: ignore[arg-type]
        yield client


def test_deploy_starts_what_the_form_says(client: TestClient, source: SimulatedSource) -> None:
    body = {"mode": "pd", "model": "m", "prefill": 2, "decode": 3, "transport": "tcp"}
    answer = client.post("/api/runs", json=body)
    assert answer.status_code == 202
    assert source.calls == [("start", DeployForm("pd", "m", 2, 3, "tcp"))]
    (run,) = client.get("/api/runs").json()["runs"]
    assert run["id"] == answer.json()["run"]
    assert [each["name"] for each in run["processes"]] == [
        *("prefill-0", "prefill-1", "decode-0", "decode-1", "decode-2"),
        "router",
    ]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"prefill": 0}, "prefill"),
        ({"prefill": 1.5}, "prefill"),
        ({"prefill": None}, "prefill"),
        ({"decode": "2"}, "decode"),
        ({"unified": 65}, "unified"),
        ({"model": ""}, "model"),
        ({"mode": "both"}, "mode"),
        ({"command": "rm"}, "command"),
    ],
)
def test_bad_form_is_one_sentence(
    client: TestClient, source: SimulatedSource, change: dict[str, Any], field: str
) -> None:
    body = {"mode": "pd", "model": "m", "prefill": 1, "decode": 1, "transport": "tcp", **change}
    answer = client.post("/api/runs", json=body)
    assert answer.status_code == 422
    assert answer.json()["error"].startswith(f"{field} = ")
    assert "\n" not in answer.json()["error"]
    assert source.calls == []


def test_refusal_of_the_runs_is_told(client: TestClient) -> None:
    body = {"mode": "pd", "model": "missing", "prefill": 1, "decode": 1, "transport": "tcp"}
    answer = client.post("/api/runs", json=body)
    assert (answer.status_code, answer.json()["error"]) == (
        400,
        "model = 'missing': is not known; name one of the list or a file.",
    )


def test_actions_name_a_run_and_a_process(client: TestClient, source: SimulatedSource) -> None:
    run = source.start(FORM)
    source.calls.clear()
    for path in ("processes/decode-0/stop", "processes/decode-0/restart", "stop"):
        assert client.post(f"/api/runs/{run}/{path}", json={}).status_code == 202
    assert source.calls == [
        ("stop_process", run, "decode-0"),
        ("restart_process", run, "decode-0"),
        ("stop", run),
    ]


@pytest.mark.parametrize(
    "path",
    [
        "/api/runs/none/stop",
        "/api/runs/demo-1/processes/none/stop",
        "/api/runs/demo-1/processes/%2e%2e/restart",
        "/api/runs/..%2f..%2fetc/stop",
        "/api/runs/demo-1/processes/decode-0/kill",
    ],
)
def test_unknown_names_do_nothing(client: TestClient, source: SimulatedSource, path: str) -> None:
    source.start(FORM)
    source.calls.clear()
    assert client.post(path, json={}).status_code in (400, 404, 422)
    assert source.calls == []


def test_action_that_is_not_json_does_nothing(client: TestClient, source: SimulatedSource) -> None:
    run = source.start(FORM)
    source.calls.clear()
    answer = client.post(f"/api/runs/{run}/stop", content=b"x", headers={"Content-Type": "text/plain"})
    assert answer.status_code == 415
    assert source.calls == []


def test_samples_of_a_run(client: TestClient, source: SimulatedSource) -> None:
    run = source.start(FORM)
    source.remember(run, 30)
    batch = client.get(f"/api/runs/{run}/samples").json()
    assert len(batch["rows"]) >= 59
    assert client.get("/api/runs/none/samples").status_code == 404


def events(client: TestClient, run: str, **body: object) -> list[dict[str, Any]]:
    answer = client.post(f"/api/runs/{run}/try", json={"prompt": "hello world", **body})
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


@pytest.mark.parametrize("chat", [True, False])
def test_try_streams_text_with_times(client: TestClient, source: SimulatedSource, chat: bool) -> None:
    run = source.start(FORM)
    found = events(client, run, chat=chat)
    assert [event["text"] for event in found[:-1]] == ["served-name", "hello", "world"]
    times = [event["ms"] for event in found]
    assert times == sorted(times)
    assert found[-1] == {**found[-1], "type": "end", "finish": "stop", "completion_tokens": 7}


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        ("refuse", "The router answered with status 400: too long"),
        ("fail later", "the decode worker went away"),
        ("garbage", "not JSON"),
    ],
)
def test_try_failure_is_one_sentence(client: TestClient, source: SimulatedSource, prompt: str, reason: str) -> None:
    found = events(client, source.start(FORM), prompt=prompt)
    assert found[-1]["type"] == "error"
    assert reason in found[-1]["reason"]


def test_try_without_a_router_is_one_sentence(client: TestClient, tmp_path: Path) -> None:
    source = SimulatedSource(tmp_path, "http://127.0.0.1:1")
    access = Access(frozenset({"testserver"}), frozenset(), TOKEN, "c")
    app = Guard(build_api(source), access)
    with TestClient(app, headers={"Authorization": f"Bearer {TOKEN}"}) as lonely:  # type: ignore[arg-type]
        found = events(lonely, source.start(FORM))
    assert found[-1]["reason"].startswith("The router at http://127.0.0.1:1 cannot be reached")


@pytest.mark.parametrize("body", [{"prompt": ""}, {"max_tokens": 0}, {"temperature": -1}, {"max_tokens": None}])
def test_bad_try_is_refused(client: TestClient, source: SimulatedSource, body: dict[str, object]) -> None:
    run = source.start(FORM)
    answer = client.post(f"/api/runs/{run}/try", json={"prompt": "x", **body})
    assert answer.status_code == 422
    assert answer.json()["error"]


def receive(socket: Any, kind: str) -> dict[str, Any]:
    for _ in range(500):
        said = socket.receive_json()
        for packet in said if isinstance(said, list) else [said]:
            if packet["type"] == kind:
                return packet
    raise AssertionError(f"no packet of type {kind}")


def test_live_socket(client: TestClient, source: SimulatedSource) -> None:
    run = source.start(FORM)
    source.remember(run, 20)
    with client.websocket_connect("/api/live") as socket:
        assert receive(socket, "snapshot")["runs"][0]["id"] == run
        socket.send_json({"select": run})
        assert len(receive(socket, "history")["apart"]) >= 39
        client.post(f"/api/runs/{run}/processes/decode-0/stop", json={})
        while True:
            patches = receive(socket, "runs")["patches"]
            if [1, "stopped"] in [[at, fields.get("state")] for one in patches for at, fields in one["processes"]]:
                break


def test_live_socket_refuses_what_it_does_not_know(client: TestClient) -> None:
    with client.websocket_connect("/api/live") as socket:
        receive(socket, "snapshot")
        socket.send_text("run rm")
        message = socket.receive()
        while message["type"] == "websocket.send":
            message = socket.receive()
        assert (message["type"], message["code"]) == ("websocket.close", 1003)


def test_log_socket(client: TestClient, source: SimulatedSource) -> None:
    run = source.start(FORM)
    path = source.log_path(run, "decode-0")
    path.write_text("\x1b[31mfirst\x1b[0m\n")
    with client.websocket_connect(f"/api/log?run={run}&process=decode-0") as socket:
        first = receive(socket, "log")
        assert ([row["text"] for row in first["rows"]], first["restarted"]) == (["first"], True)
        with path.open("a") as file:
            file.write("second\n")
        assert [row["text"] for row in receive(socket, "log")["rows"]] == ["second"]


@pytest.mark.parametrize("process", ["none", "../../etc/passwd"])
def test_log_socket_of_an_unknown_process(client: TestClient, source: SimulatedSource, process: str) -> None:
    run = source.start(FORM)
    with client.websocket_connect(f"/api/log?run={run}&process={process}") as socket:
        assert "no such log" in receive(socket, "error")["reason"]


def test_static_files_are_checked_again_after_an_update(client: TestClient) -> None:
    answer = client.get("/static-pdpanel/main.js")
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-cache")
    assert client.get("/static-pdpanel/../app.py").status_code == 404


def test_hardware_is_told(client: TestClient) -> None:
    host = client.get("/api/hardware").json()
    assert [table["title"] for table in host["tables"]] == [
        *("NIC to use for each GPU", "NUMA nodes", "GPUs", "RDMA ports", "Network interfaces"),
        "Paths from GPU to NIC",
    ]
    assert {fact["label"] for fact in host["facts"]} >= {"Processor", "Memory"}
