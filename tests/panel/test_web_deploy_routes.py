from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.panel import ports
from pdpanel.panel.deployment import Deployment, parse_deployment, parse_deployment_text
from pdpanel.panel.host_facts import this_host
from pdpanel.panel.launch import LaunchPlan
from pdpanel.panel.plan import RunIds, plan
from pdpanel.panel.runs import Runs
from pdpanel.panel.web.app import build_api
from pdpanel.panel.web.port import DeployForm
from pdpanel.panel.web.start_checks import RunsStartChecks
from simulated_source import SimulatedSource
from starlette.testclient import TestClient

FORM = {"mode": "pd", "model": "SmolLM2-135M-Instruct", "prefill": 1, "decode": 1, "transport": "tcp"}


@pytest.fixture
def source(tmp_path: Path) -> SimulatedSource:
    return SimulatedSource(tmp_path, ready_after_s=0.0)


@pytest.fixture
def client(source: SimulatedSource) -> Iterator[TestClient]:
    with TestClient(build_api(source)) as client:
        yield client


def check(client: TestClient, **body: Any) -> Any:
    return client.post("/api/deploy/check", json=body)


def test_a_form_is_checked_without_starting_anything(client: TestClient, source: SimulatedSource) -> None:
    answer = check(client, form=FORM)
    assert answer.json() == {"findings": [], "fixes": [], "blocked": False}
    assert source.calls == []


def test_findings_come_with_their_fixes(client: TestClient) -> None:
    answer = check(client, form=FORM | {"transport": "nixl", "decode": 12}).json()
    assert [(finding["id"], finding["severity"]) for finding in answer["findings"]] == [
        ("start-transport-missing", "error"),
        ("start-many-workers", "warning"),
    ]
    assert answer["blocked"] is True
    assert answer["fixes"][1] == {
        "finding": "start-many-workers",
        "label": "Use 7 decode workers instead of 12",
        "path": "decode.count",
        "value": 7,
    }


def test_a_text_is_checked_and_a_wrong_field_is_one_sentence(client: TestClient) -> None:
    taken = check(client, text="model: taken\nprefill: {count: 1}\ndecode: {count: 1}\n").json()
    assert taken["fixes"][0]["path"] == "router.port"
    wrong = check(client, text="model: x\ntransport: pigeon\n")
    assert wrong.status_code == 400
    assert wrong.json()["error"].startswith("transport = 'pigeon'")


def test_a_check_opens_no_dump_that_a_text_names(client: TestClient) -> None:
    text = "model: x\nprefill: {count: 1}\ndecode: {count: 1}\nhosts: {a: {dump: /etc/passwd}}\n"
    answer = check(client, text=text)
    assert answer.status_code == 400
    assert "dump" in answer.json()["error"]


@pytest.mark.parametrize("action", ["restart", "resume", "adopt", "detach"])
def test_actions_name_a_run(client: TestClient, source: SimulatedSource, action: str) -> None:
    run = source.start(DeployForm("pd", "m", 1, 1, "tcp"))
    answer = client.post(f"/api/runs/{run}/{action}", json={})
    assert (answer.status_code, answer.json()) == (200, {"run": run})
    assert source.calls[-1] == (action, run)
    assert client.post(f"/api/runs/none/{action}", json={}).status_code == 404
    assert client.post(f"/api/runs/{run}/{action}", json={"command": ["sh"]}).status_code == 400


def test_the_deployment_of_a_run_is_text_that_reads_as_one(client: TestClient, source: SimulatedSource) -> None:
    run = source.start(DeployForm("pd", "m", 1, 3, "tcp"))
    text = client.get(f"/api/runs/{run}/deployment").json()["text"]
    assert parse_deployment_text(text, "the text").decode.count == 3
    assert client.get("/api/runs/none/deployment").status_code == 404


class PortRefusingRuns:
    """Stands in for Runs: refuses one router port, and counts how often it was asked."""

    simulation = None

    def __init__(self) -> None:
        self.asked = 0

    def preview(self, deployment: Deployment) -> LaunchPlan:
        self.asked += 1
        if deployment.router.port == 8000:
            raise ConfigError("router.port", 8000, "is in use", "write 8001, which is free, or leave it out")
        # As in Runs: the ports of the plan are free ones.
        taken = ports.taken_ports("127.0.0.1", [*ports.WORKER_BAND, *ports.BOOTSTRAP_BAND, *ports.ROUTER_BAND])
        return plan(deployment, this_host(taken), RunIds("r", "/runs/r", "/cache"))

    def check(self, launch: object, *, agreed: bool) -> None:
        assert agreed


def wanted(**fields: object) -> Deployment:
    return parse_deployment(
        {"model": "m", "transport": "tcp", "prefill": {"count": 1}, "decode": {"count": 1}, **fields}
    )


def test_an_answer_is_kept_for_some_seconds_and_asked_anew_afterwards() -> None:
    runs, now = PortRefusingRuns(), [0.0]
    checks = RunsStartChecks(cast("Runs", runs), lambda: now[0])
    refused = checks.check(wanted(router={"port": 8000}))
    assert refused.blocked
    assert [fix.value for fix in refused.fixes if fix.path == "router.port"] == [8001]
    assert checks.check(wanted(router={"port": 8000})) is refused
    assert runs.asked == 1
    fine = checks.check(wanted())
    assert not fine.blocked
    assert [finding.id for finding in fine.findings if finding.id == "port-taken"] == []
    now[0] = 60.0
    checks.check(wanted())
    assert runs.asked == 3
