"""A token in the environment reaches the processes and nothing that is written, exported, sent or shown."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pdpanel.panel.audit import Audit
from pdpanel.panel.export.export import export_files
from pdpanel.panel.export.formats import FORMATS
from pdpanel.panel.runs import Runs
from pdpanel.panel.web.app import build_api
from pdpanel.panel.web.audit_trail import AuditTrail
from pdpanel.panel.web.source import RunsSource
from starlette.testclient import TestClient

from .conftest import FakeRuns

SECRETS = {
    "HF_TOKEN": "hf_" + "QwErTyUiOp0123456789AsDfGh",
    "WANDB_API_KEY": "9f" * 20,
    "MY_PASSWORD": "tr0ub4dor-and-3",
}
IN_THE_URL = "secret-part-of-the-webhook"


@pytest.fixture
def hook() -> Iterator[tuple[str, queue.Queue[dict[str, Any]]]]:
    """The URL of a webhook, and what it was told."""
    told: queue.Queue[dict[str, Any]] = queue.Queue()

    class Take(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Take)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/{IN_THE_URL}", told
    server.shutdown()
    thread.join(10)
    server.server_close()


def holds_secret(text: str) -> list[str]:
    return [name for name, secret in SECRETS.items() if secret in text]


def test_planted_tokens_are_nowhere(
    hook: tuple[str, queue.Queue[dict[str, Any]]], fake: FakeRuns, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # In this order the webhook still listens when the run ends: its runner waits a while to be heard.
    url, told = hook
    for name, secret in SECRETS.items():
        monkeypatch.setenv(name, secret)
    fake.config = replace(fake.config, webhook=url)
    fake.runs = Runs(fake.config, fake._plan)
    fake.behaviour["decode-0"] = "crash"
    run = fake.start(restart="never")

    event = told.get(timeout=40)
    assert (event["event"], event["run"], event["process"]) == ("process-crashed", run.id, "decode-0")
    assert holds_secret(json.dumps(event)) == []
    webhook = fake.config.runs_dir / run.id / "webhook"
    assert (webhook.read_text(), webhook.stat().st_mode & 0o777) == (url, 0o600)

    source = RunsSource(fake.runs)
    audit = Audit(fake.config.state_dir)
    app: Any = AuditTrail(build_api(source), audit)  # type: ignore[arg-type]
    shown = []
    with TestClient(app) as client:
        for path in ("/metrics", "/api/runs", f"/api/runs/{run.id}/samples", f"/api/runs/{run.id}/deployment"):
            answer = client.get(path)
            assert answer.status_code == 200, path
            shown.append(answer.text)
        body = {"mode": "pd", "model": SECRETS["HF_TOKEN"], "transport": "none"}
        client.post("/api/runs", json=body, headers={"X-Token": SECRETS["HF_TOKEN"]})
        client.post(f"/api/runs/{run.id}/processes/decode-0/stop", json={})
    assert f'run="{run.id}"' in shown[0]
    for text in shown:
        assert holds_secret(text) == []
        assert IN_THE_URL not in text
    assert [(entry.action, entry.subject) for entry in audit.entries()] == [
        ("runs", ""),
        ("runs/{run_id}/processes/{name}/stop", f"{run.id} decode-0"),
    ]

    deployment = fake.deployment()
    for name in FORMATS:
        for file in export_files(fake.runs.preview(deployment), deployment, name):
            assert holds_secret(file.text) == [], file.path

    written = [path for path in fake.config.state_dir.rglob("*") if path.is_file()]
    assert len(written) > 6
    for path in written:
        text = path.read_bytes().decode("latin-1")
        assert holds_secret(text) == [], path
        assert IN_THE_URL not in text or path == webhook, path
