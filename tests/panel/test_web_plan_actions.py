"""The routes that take a deployment out of the Plan tab as processes: an offer, an agreement, a start."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from pdpanel.panel.web.app import build_api
from simulated_source import SimulatedSource

HARMLESS = "model: m\nprefill: {count: 1}\ndecode: {count: 1}\n"
FOREIGN = HARMLESS + "env: {LD_PRELOAD: /tmp/x.so}\n"


@pytest.fixture
def client(tmp_path: Path):
    source = SimulatedSource(tmp_path)
    with TestClient(build_api(source)) as made:
        yield made


def test_an_offer_shows_commands_and_variables(client: TestClient) -> None:
    offer = client.post("/api/plan/offer", json={"text": FOREIGN}).json()
    assert offer["needs_consent"] is True
    assert [process["name"] for process in offer["processes"]] == ["decode-0", "prefill-0", "router"]
    assert all(process["env"]["LD_PRELOAD"] == "/tmp/x.so" for process in offer["processes"])
    assert client.post("/api/plan/offer", json={"text": HARMLESS}).json()["needs_consent"] is False


def test_a_start_wants_the_agreement_to_this_very_text(client: TestClient) -> None:
    assert client.post("/api/plan/start", json={"text": HARMLESS}).status_code == 200
    refused = client.post("/api/plan/start", json={"text": FOREIGN})
    assert refused.status_code == 409 and "agree" in refused.json()["error"]
    consent = client.post("/api/plan/offer", json={"text": FOREIGN}).json()["consent"]
    other = FOREIGN.replace("x.so", "y.so")
    assert client.post("/api/plan/start", json={"text": other, "consent": consent}).status_code == 409
    started = client.post("/api/plan/start", json={"text": FOREIGN, "consent": consent})
    assert started.status_code == 200 and started.json()["run"]


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        ({"text": "modle: x\nmodel: m\nunified: {count: 1}\n"}, 400, "modle"),
        ({"text": "- a\n- b\n"}, 400, "mapping"),
        ({"text": ""}, 400, "mapping"),
        ({"text": HARMLESS, "argv": ["sh"]}, 400, "argv"),
        ({"text": 5}, 400, "text"),
        ({"text": "x" * (1 << 20) + "y"}, 400, "1 MiB"),
    ],
)
def test_bad_input_is_one_sentence(client: TestClient, body: dict[str, object], status: int, word: str) -> None:
    answer = client.post("/api/plan/start", json=body)
    assert answer.status_code == status, answer.text
    assert word in answer.json()["error"] and "\n" not in answer.json()["error"]
    assert len(answer.json()["error"]) < 1000


@pytest.mark.parametrize("route", ["offer", "start"])
def test_no_file_that_the_text_names_is_opened(client: TestClient, route: str) -> None:
    text = HARMLESS + "hosts: {a: {dump: /etc/hostname}}\n"
    answer = client.post(f"/api/plan/{route}", json={"text": text})
    assert answer.status_code == 400 and "opens no file" in answer.json()["error"]
