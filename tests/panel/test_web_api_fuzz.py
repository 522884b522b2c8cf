"""Requests made up from the API's own description: none ends in a server error, each refusal is one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from pdpanel.panel.web.app import build_api
from pdpanel.panel.web.port import DeployForm
from simulated_source import SimulatedSource
from starlette.testclient import TestClient

# Answers that stream or wait for a router, and an upload, which has its own tests.
_LEFT_OUT = ("/try", "/attach", "/proof", "/inspect", "/import")


def _ask_all(tmp_path: Path, examples: int, below: str = "/") -> int:
    """Asks each operation below a path so often; returns how many operations there are."""
    source = SimulatedSource(tmp_path, "http://127.0.0.1:9")
    run = source.start(DeployForm("pd", "SmolLM2-135M-Instruct", 1, 1, "mooncake"))
    asked = 0
    with TestClient(build_api(source), raise_server_exceptions=False) as client:
        schema = schemathesis.openapi.from_dict(client.get("/api/openapi.json").json())
        results: Any = schema.get_all_operations()
        for found in results:
            operation = found.ok()
            if operation.path.startswith(below) and not operation.path.endswith(_LEFT_OUT):
                asked += 1
                _ask(client, operation, run, examples)
    return asked


def _ask(client: TestClient, operation: Any, run: str, examples: int) -> None:
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    @given(operation.as_strategy())
    def check(case: Any) -> None:
        values = {name: str(value) for name, value in (case.path_parameters or {}).items()}
        path = case.formatted_path
        if "run_id" in values and "/" not in "".join(values.values()):
            path = operation.path.format(**{**values, "run_id": run})
        body = case.body if isinstance(case.body, dict | list | str | int | float) else {}
        answer = client.request(
            case.method,
            path,
            params={key: str(value) for key, value in (case.query or {}).items()},
            content=None if case.method == "GET" else json.dumps(body).encode("utf-8", "replace"),
            headers={"Content-Type": "application/json"},
        )
        assert answer.status_code < 500, (case.method, path, body, answer.text)
        if answer.status_code >= 400 and answer.headers.get("content-type") == "application/json":
            told = answer.json()
            assert "\n" not in str(told.get("error", told.get("detail")))

    check()


def test_made_up_requests(tmp_path: Path) -> None:
    assert _ask_all(tmp_path, 2, "/api/runs") > 5


@pytest.mark.slow
def test_many_made_up_requests(tmp_path: Path) -> None:
    assert _ask_all(tmp_path, 20) > 20
