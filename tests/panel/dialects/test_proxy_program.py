"""The generated proxy, run by a Python of its own against workers on loopback."""

from __future__ import annotations

import ast
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.deployment import parse_deployment
from pdpanel.panel.deployment_parts import RoleSpec, RouterSpec
from pdpanel.panel.dialects.placement import Placed, PlacedRouter, Placement
from pdpanel.panel.dialects.proxy_program import proxy_file, proxy_process
from pdpanel.panel.launch import Role

from .upstream import Worker, serving

JSON = {"Content-Type": "application/json"}
ROUTER = PlacedRouter("proxy", "127.0.0.1", 0)


def placement(prefill: list[int], decode: list[int], router: PlacedRouter = ROUTER, **fields: object) -> Placement:
    workers = [
        Placed(f"{role.value}-{i}", role, port, RoleSpec(), index=i)
        for role, ports in ((Role.PREFILL, prefill), (Role.DECODE, decode))
        for i, port in enumerate(ports)
    ]
    wanted: dict[str, object] = {"model": "m", "prefill": {"count": 1}, "decode": {"count": 1}, **fields}
    return Placement(parse_deployment(wanted), "here", "python3", tuple(workers), router)


class Running:
    """A started proxy and its workers."""

    def __init__(self, port: int, prefill: list[Worker], decode: list[Worker], journal: list[str]) -> None:
        self.port, self.prefill, self.decode, self.journal = port, prefill, decode, journal

    def post(self, body: bytes | dict[str, Any], path: str = "/v1/completions", **headers: str) -> tuple[int, bytes]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.ask("POST", path, data, {**JSON, **headers})

    def ask(
        self, method: str, path: str, data: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, data, headers or {})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


@contextmanager
def proxy(folder: Path, prefills: int = 1, decodes: int = 1, key: str | None = None) -> Iterator[Running]:
    journal: list[str] = []
    with ExitStack() as stack:
        prefill = [stack.enter_context(serving(Worker(f"p{i}", journal))) for i in range(prefills)]
        decode = [stack.enter_context(serving(Worker(f"d{i}", journal))) for i in range(decodes)]
        made = placement([each.port for each in prefill], [each.port for each in decode])
        program = folder / "proxy_server.py"
        program.write_text(proxy_file(made, ROUTER).text)
        env = {name: value for name, value in os.environ.items() if name != "OPENAI_API_KEY"}
        env |= {"OPENAI_API_KEY": key} if key else {}
        process = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-I", str(program)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env
            )
        )
        stack.callback(process.kill)
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        assert line.startswith("proxy listens on 127.0.0.1 port ")
        yield Running(int(line.split()[-1]), prefill, decode, journal)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with proxy(tmp_path_factory.mktemp("proxy"), decodes=2) as running:
        yield running


@pytest.fixture
def running(shared: Running) -> Running:
    shared.journal.clear()
    for worker in (*shared.prefill, *shared.decode):
        worker.asked.clear()
        worker.status = 200
        worker.pieces = [b'{"from": "%s"}' % worker.name.encode()]
    return shared


def test_prefill_is_asked_for_one_token_then_decode_for_the_original(running: Running) -> None:
    body = {"model": "m", "prompt": "San Francisco is a", "max_tokens": 1000, "stream": True, "min_tokens": 4}
    body["stream_options"] = {"include_usage": True}
    status, answer = running.post(body)
    assert (status, json.loads(answer)["from"][0]) == (200, "d")
    assert [name[0] for name in running.journal] == ["p", "d"]
    copy, original = running.prefill[0].asked[0][0], next(each.asked[0][0] for each in running.decode if each.asked)
    assert original == body
    expected = {**body, "max_tokens": 1, "stream": False, "min_tokens": 1}
    del expected["stream_options"]
    assert copy == expected


def test_chat_asks_for_one_token_by_both_names(running: Running) -> None:
    body = {"model": "m", "messages": [], "max_completion_tokens": 9}
    assert running.post(body, "/v1/chat/completions")[0] == 200
    assert running.prefill[0].asked[0][0] == {**body, "max_completion_tokens": 1, "max_tokens": 1}


def test_pieces_reach_the_client_while_decode_is_still_at_work(running: Running) -> None:
    more = threading.Event()
    for worker in running.decode:
        worker.pieces = [b"data: one\n\n", lambda: more.wait(15), b"data: two\n\n"]
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=20)
    try:
        connection.request("POST", "/v1/completions", b"{}", JSON)
        response = connection.getresponse()
        assert response.headers["Content-Type"] == "text/event-stream"
        assert response.read(11) == b"data: one\n\n"
        more.set()
        assert response.read() == b"data: two\n\n"
    finally:
        more.set()
        connection.close()


def test_decode_workers_take_turns(running: Running) -> None:
    for _ in range(4):
        assert running.post({})[0] == 200
    assert [len(worker.asked) for worker in running.decode] == [2, 2]


def test_what_prefill_refuses_is_told_and_decode_is_not_asked(running: Running) -> None:
    running.prefill[0].status = 400
    running.prefill[0].pieces = [b'{"error": "too long"}']
    assert running.post({}) == (400, b'{"error": "too long"}')
    assert running.journal == ["p0"]


def test_what_decode_refuses_is_told(running: Running) -> None:
    for worker in running.decode:
        worker.status = 429
    assert running.post({})[0] == 429


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"[" * 100_000, b"\xff"])
def test_a_body_that_is_no_json_object_is_refused(running: Running, body: bytes) -> None:
    status, answer = running.post(body)
    assert (status, json.loads(answer)["error"]["type"]) == (400, "proxy_error")
    assert running.journal == []


def test_a_web_page_cannot_post_to_a_local_proxy(running: Running) -> None:
    assert running.ask("POST", "/v1/completions", b"{}", {"Content-Type": "text/plain"})[0] == 400
    assert running.post({}, Host="evil.example")[0] == 403
    assert running.ask("GET", "/v1/models", headers={"Host": "evil.example:80"})[0] == 403
    assert running.journal == []


def test_health_models_and_unknown_pages(running: Running) -> None:
    assert running.ask("GET", "/health") == (200, b'{"healthy": true}')
    assert running.ask("GET", "/v1/models") == (200, b"{}")
    assert running.ask("GET", "/metrics")[0] == 404
    assert running.post({}, "/v1/embeddings")[0] == 404
    running.decode[1].status = 500
    assert running.ask("GET", "/health")[0] == 503


def test_the_clients_token_is_passed_on(running: Running) -> None:
    assert running.post({}, Authorization="Bearer mine")[0] == 200
    assert running.prefill[0].asked[0][1]["Authorization"] == "Bearer mine"


def test_a_token_of_its_own_and_workers_that_are_gone(tmp_path: Path) -> None:
    with proxy(tmp_path, key="secret") as own:
        assert own.post({}, Authorization="Bearer mine")[0] == 200
        asked = [each.asked[0][1]["Authorization"] for each in (*own.prefill, *own.decode)]
        assert asked == ["Bearer secret"] * 2
    gone = socket.create_server(("127.0.0.1", 0))
    port = gone.getsockname()[1]
    gone.close()
    folder = tmp_path / "gone"
    folder.mkdir()
    (folder / "p.py").write_text(proxy_file(placement([port], [port]), ROUTER).text)
    with subprocess.Popen([sys.executable, "-I", str(folder / "p.py")], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            started = Running(int(process.stdout.readline().split()[-1]), [], [], [])
            status, answer = started.post({})
            assert status == 502
            assert "does not answer" in json.loads(answer)["error"]["message"]
        finally:
            process.kill()


def test_the_program_is_plain_python_of_old_versions_too() -> None:
    file = proxy_file(placement([8100], [8200]), ROUTER)
    ast.parse(file.text, feature_version=(3, 8))
    assert (file.path, file.program, file.shared) == ("proxy_server.py", True, False)


@settings(deadline=None)
@given(st.text(min_size=1, max_size=40), st.integers(1, 65535))
def test_any_address_stays_a_value_of_the_program(address: str, port: int) -> None:
    made = placement([port], [port])
    workers = tuple(replace(worker, address=address, node="other") for worker in made.workers)
    text = proxy_file(replace(made, workers=workers), replace(ROUTER, listen=address)).text
    found = {
        node.target.id: ast.literal_eval(node.value)
        for node in ast.parse(text).body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None
    }
    assert found["LISTEN"] == [address, 0]
    assert found["PREFILL"] == found["DECODE"]
    assert len(found["PREFILL"]) == 1
    assert address in found["PREFILL"][0]


def test_targets_name_neighbours_localhost_and_others_by_address() -> None:
    router = PlacedRouter("proxy", "0.0.0.0", 8000, "n1", "10.0.0.1")
    made = placement([8100], [8200], router)
    prefill, decode = made.workers
    here, there = replace(prefill, node="n1", address="10.0.0.1"), replace(decode, node="n2", address="10.0.0.2")
    spec = proxy_process(replace(made, workers=(here, there)), router)
    assert dict(spec.targets) == {
        "prefill": "http://localhost:8100/v1/completions",
        "decode": "http://10.0.0.2:8200/v1/completions",
        "listen": "0.0.0.0:8000",
    }
    assert spec.argv == ("python3", "proxy_server.py")
    assert spec.ready.url == "http://127.0.0.1:8000/health"


def test_it_takes_no_options() -> None:
    made = placement([1], [2])
    wanted = made.deployment.model_copy(update={"router": RouterSpec(flags={"debug": True})})
    with pytest.raises(ConfigError, match="mean nothing"):
        proxy_process(replace(made, deployment=wanted), ROUTER)
