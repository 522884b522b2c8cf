"""Profiles over a run's plan: which processes have one, what is asked of a worker, and which files are given away."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pdpanel.engine.errors import ConflictError, NotFoundError, PeerError
from pdpanel.panel.deployment import parse_deployment
from pdpanel.panel.host_facts import HostFacts
from pdpanel.panel.launch import LaunchPlan
from pdpanel.panel.plan import plan
from pdpanel.panel.profile import Profiles, can_profile
from pdpanel.panel.worker_client import ask_worker
from simulated_profiles import write_trace


class Worker(ThreadingHTTPServer):
    """What a worker answers on its profile routes; `asked` is what came."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.status: dict[str, Any] = {"state": "idle", "files": [], "limit_s": 30.0, "error": "", "began_s": 0.0}
        self.asked: list[tuple[str, str, str, Any]] = []
        self.refusal = ""


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._answer(None)

    def do_POST(self) -> None:
        self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _answer(self, body: Any) -> None:
        server = self.server
        assert isinstance(server, Worker)
        server.asked.append((self.command, self.path, self.headers.get("Authorization", ""), body))
        status, answer = 200, server.status
        if server.refusal:
            status, answer = 409, {"error": {"message": server.refusal}}
        elif self.path == "/start_profile":
            server.status |= {"state": "profiling"}
        elif self.path == "/stop_profile":
            server.status |= {"state": "done"}
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[Worker]:
    made = Worker()
    thread = threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


@pytest.fixture
def worker(server: Worker) -> Worker:
    server.status = {"state": "idle", "files": [], "limit_s": 30.0, "error": "", "began_s": 0.0}
    server.asked.clear()
    server.refusal = ""
    return server


def launched(worker: Worker, folder: Path, **flags: str) -> LaunchPlan:
    fields = {
        "model": "m",
        "unified": {"count": 1, "flags": {name.replace("_", "-"): text for name, text in flags.items()}},
    }
    made = plan(parse_deployment(fields), HostFacts("n", 4, "python3"), None)
    base = f"http://127.0.0.1:{worker.server_address[1]}"
    changed = [replace(one, cwd=str(folder), info_url=f"{base}/server_info") for one in made.processes if one.info_url]
    return replace(made, processes=(*changed, *(one for one in made.processes if not one.info_url)))


def test_workers_of_the_bundled_engine_have_profiles(worker: Worker, tmp_path: Path) -> None:
    made = launched(worker, tmp_path)
    assert [spec.name for spec in made.processes if can_profile(spec, made)] == ["unified-0"]
    assert not any(can_profile(spec, replace(made, attached=True)) for spec in made.processes)
    assert not any(can_profile(spec, replace(made, dialect="sglang")) for spec in made.processes)
    with pytest.raises(NotFoundError, match=r"router.*not a process that can be profiled; name one of uni"):
        Profiles(lambda run_id: made).status("r", "router")


def test_a_profile_is_begun_and_ended_with_the_administrators_key(worker: Worker, tmp_path: Path) -> None:
    made = launched(worker, tmp_path, api_key="plain", admin_api_key="boss")
    profiles = Profiles(lambda run_id: made)
    assert profiles.record("r", "unified-0", 0.02)["state"] == "done"
    assert [(way, path, key) for way, path, key, _ in worker.asked] == [
        ("POST", "/start_profile", "Bearer boss"),
        ("GET", "/profile", "Bearer plain"),
        ("POST", "/stop_profile", "Bearer boss"),
    ]


def test_a_refusal_comes_in_the_workers_own_words(worker: Worker, tmp_path: Path) -> None:
    made = launched(worker, tmp_path)
    worker.refusal = "a profile is under way."
    with pytest.raises(ConflictError, match=r"unified-0.*a profile is under way;"):
        Profiles(lambda run_id: made).start("r", "unified-0")
    away = replace(made.processes[0], info_url="http://127.0.0.1:9/server_info")
    with pytest.raises(PeerError, match="unified-0 does not answer"):
        ask_worker(away, "/profile", timeout_s=1.0)


def test_traces_are_given_away_from_the_workers_folder_alone(worker: Worker, tmp_path: Path) -> None:
    run, outside = tmp_path / "run", tmp_path / "outside.trace.json.gz"
    good = write_trace(run / "profiles" / "unified-1" / "TP-0.trace.json.gz")
    write_trace(outside)
    (run / "profiles" / "link.trace.json.gz").symlink_to(outside)
    (run / "secret.txt").write_text("x")
    profiles = Profiles(lambda run_id: launched(worker, run))
    for rank, path in enumerate(
        (good, outside, run / "profiles" / "link.trace.json.gz", run / "secret.txt", run / "no")
    ):
        worker.status["files"].append({"rank": rank, "path": str(path), "bytes": 1})
    assert profiles.trace("r", "unified-0", 0) == good
    for rank in range(1, 6):
        with pytest.raises(NotFoundError, match="rank"):
            profiles.trace("r", "unified-0", rank)


def test_the_page_about_a_trace_is_kept_beside_it(worker: Worker, tmp_path: Path) -> None:
    path = write_trace(tmp_path / "TP-0.trace.json.gz")
    worker.status["files"] = [{"rank": 0, "path": str(path), "bytes": 1}]
    profiles = Profiles(lambda run_id: launched(worker, tmp_path))
    page = profiles.summary("r", "unified-0")
    assert page["steps"][0]["count"] == 2
    path.write_bytes(b"gone")
    assert profiles.summary("r", "unified-0") == page
    (tmp_path / "rank0.summary.json").unlink()
    with pytest.raises(ConflictError, match=r"trace = 'TP-0\.trace\.json\.gz'.*open it in Perfetto"):
        profiles.summary("r", "unified-0")
