"""The REST API is described whole, by a page that loads nothing, and does what the command line does."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from pdpanel.panel.cli import app as cli
from pdpanel.panel.runs import Runs
from pdpanel.panel.web.app import build_api
from simulated_source import SimulatedSource
from starlette.testclient import TestClient


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> SimulatedSource:
    return SimulatedSource(tmp_path_factory.mktemp("api"), "http://127.0.0.1:9")


@pytest.fixture(scope="module")
def client(source: SimulatedSource) -> Iterator[TestClient]:
    with TestClient(build_api(source), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def schema(client: TestClient) -> dict[str, Any]:
    return client.get("/api/openapi.json").json()


def operations(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_each_route_has_a_sentence_and_its_errors(schema: dict[str, Any]) -> None:
    for name, operation in operations(schema):
        # A docstring of the route, or a line in api_summaries.py.
        assert re.fullmatch(r"[A-Z].{10,}\.", operation["summary"], re.DOTALL), name
        assert {"401", "403", "404", "409", "422"} <= set(operation["responses"]), name
        if name.startswith("POST"):
            assert operation["requestBody"]["content"], name
        for parameter in operation.get("parameters", []):
            assert {"type", "anyOf", "enum", "$ref", "const"} & set(parameter["schema"]), (name, parameter)


def test_each_type_that_is_named_is_there(schema: dict[str, Any]) -> None:
    named = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(schema)))
    assert "Error" in named
    assert named <= set(schema["components"]["schemas"])


def test_page_shows_each_route_and_loads_nothing(client: TestClient, schema: dict[str, Any]) -> None:
    page = client.get("/api/docs").text
    for name, _ in operations(schema):
        assert f"<code>{name}</code>" in page
    assert not re.search(r"<script|<link|<img|src=|url\(|@import", page)


ACTIONS = {
    "start": ("up", "POST /api/plan/start"),
    "list": ("status", "GET /api/runs"),
    "get": ("status --run", "GET /api/runs"),
    "stop": ("down", "POST /api/runs/{run_id}/stop"),
    "stop_process": ("down PROCESS", "POST /api/runs/{run_id}/processes/{name}/{action}"),
    "restart": ("restart", "POST /api/runs/{run_id}/{action}"),
    "restart_process": ("restart PROCESS", "POST /api/runs/{run_id}/processes/{name}/{action}"),
    "resume": ("up --resume", "POST /api/runs/{run_id}/{action}"),
    "adopt": ("adopt --run", "POST /api/runs/{run_id}/{action}"),
    "attach": ("attach", "POST /api/attach"),
    "preview": ("up --dry-run", "POST /api/plan/preview"),
    "history": ("history", "GET /api/history"),
    "log_path": ("logs", "GET /api/runs/{run_id}/logs/{name}/rows"),
}
# Not actions of a person: parts of others, or what only one of the two needs.
PARTS = {
    *("latest", "adopt_all", "check", "consents", "loads_dir", "plan", "range", "samples", "deployment_text"),
    *("cache_dir", "simulation", "take_over"),
    *("recorded", "scale", "scaling"),
}


def test_every_action_on_runs_is_a_command_and_a_route(schema: dict[str, Any]) -> None:
    public = {name for name, _ in inspect.getmembers(Runs) if not name.startswith("_")}
    assert public - PARTS - set(ACTIONS) == set(), "a new action: give it a command and a route, and a line here"
    routes = {name for name, _ in operations(schema)}
    group = typer.main.get_command(cli)
    commands: dict[str, Any] = group.commands  # type: ignore[attr-defined]
    for action, (command, route) in ACTIONS.items():
        name, _, more = command.partition(" ")
        words = {word for parameter in commands[name].params for word in (*parameter.opts, parameter.metavar)}
        assert not more or more in words, (action, command)
        assert route in routes, action


def test_examples_of_the_document_are_routes(schema: dict[str, Any]) -> None:
    text = (Path(__file__).parents[2] / "docs/rest-api.md").read_text()
    named = set(re.findall(r"`((?:GET|POST) /api/[^`?]*)`", text))
    assert len(named) >= 8
    assert named <= {name for name, _ in operations(schema)} | {"GET /api/docs"}
    for address in re.findall(r"\$PANEL(/[^\s\"'?]*)", text):
        plain = address.replace("$RUN", "{run_id}")
        assert plain == "/metrics" or any(name.endswith(f" {plain}") for name, _ in operations(schema)), address
