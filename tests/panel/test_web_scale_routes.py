"""More or fewer workers over REST: what is shown is what happens, and mistakes are one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pdpanel.panel.web.app import build_api
from pdpanel.panel.web.attach_port import AttachForm
from pdpanel.panel.web.port import DeployForm
from simulated_source import SimulatedSource
from starlette.testclient import TestClient

FORM = DeployForm("pd", "SmolLM2-135M-Instruct", 1, 1, "tcp")


@pytest.fixture
def source(tmp_path: Path) -> SimulatedSource:
    return SimulatedSource(tmp_path, ready_after_s=0.0)


@pytest.fixture
def client(source: SimulatedSource) -> Iterator[TestClient]:
    with TestClient(build_api(source)) as client:
        yield client


def preview(client: TestClient, run_id: str, **counts: int) -> Any:
    return client.post(f"/api/runs/{run_id}/scale/preview", json=counts)


def names(source: SimulatedSource) -> list[str]:
    return [process.name for process in source.runs()[0].processes]


def test_what_was_shown_is_what_happens(client: TestClient, source: SimulatedSource) -> None:
    run_id = source.start(FORM)
    shown = preview(client, run_id, decode=2).json()
    assert (shown["added"], shown["removed"], shown["restarts"]) == (["decode-1"], [], [])
    assert shown["before"] == {"prefill": 1, "decode": 1} and shown["after"] == {"prefill": 1, "decode": 2}
    assert {line["sign"] for line in shown["lines"]} == {"+", "~", " "}
    assert "3 workers on 8 cores." in shown["room"]
    assert source.calls[1:] == [] and len(names(source)) == 3, "nothing happened yet"
    answer = client.post(f"/api/runs/{run_id}/scale", json={"decode": 2, "shown": shown["id"]})
    assert (answer.status_code, answer.json()) == (200, {"run": run_id})
    assert sorted(names(source)) == ["decode-0", "decode-1", "prefill-0", "router"]
    back = preview(client, run_id, decode=1).json()
    assert back["removed"] == ["decode-1"]
    again = client.post(f"/api/runs/{run_id}/scale", json={"decode": 2, "shown": shown["id"]})
    assert again.status_code == 409 and "since the difference was shown" in again.json()["error"]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"decode": 0}, 400, "leaves no decode worker"),
        ({"unified": 2}, 400, "is not a role of this deployment"),
        ({"decode": -1}, 422, "decode"),
        ({"decode": 2, "argv": ["sh"]}, 422, "argv"),
    ],
)
def test_mistakes_are_one_sentence(
    client: TestClient, source: SimulatedSource, body: dict[str, Any], status: int, words: str
) -> None:
    answer = preview(client, source.start(FORM), **body)
    assert answer.status_code in {status, 400, 422} and words in answer.json()["error"]


def test_a_run_that_is_watched_or_unknown_is_refused(client: TestClient, source: SimulatedSource) -> None:
    run_id = source.attach.attach(AttachForm(name="theirs", router="http://127.0.0.1:1"))
    assert "only watched" in preview(client, run_id, decode=2).json()["error"]
    assert preview(client, "nobody", decode=2).status_code == 404
    assert client.post(f"/api/runs/{run_id}/scale", json={"decode": 2}).status_code in {400, 422}
