"""Hub ids: a download from a hub of our own on 127.0.0.1, its cache, and every way in which it can fail."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pdpanel.engine.config import Environment, read_environment
from pdpanel.engine.errors import ConfigError
from pdpanel.engine.model.hub import fetch_snapshot, is_complete_snapshot
from pdpanel.engine.model.progress import no_progress

WriteHf = Callable[..., Path]
SHA = "1" * 40


class Hub(http.server.ThreadingHTTPServer):
    """The few routes of the Hugging Face Hub that a snapshot download uses."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.requests: list[tuple[str, str, str]] = []
        super().__init__(("127.0.0.1", 0), Routes)


class Routes(http.server.BaseHTTPRequestHandler):
    server: Hub  # type: ignore[assignment]

    def log_message(self, format: str, *args: object) -> None:
        """Keeps the test's output clean."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.requests.append((self.command, path, self.headers.get("authorization", "")))
        files = self.server.files
        listed = [{"rfilename": name, "size": len(data)} for name, data in files.items()]
        if path.startswith("/api/models/org/gated"):
            self.answer(403, b"", {"X-Error-Code": "GatedRepo", "X-Error-Message": "ask"})
        elif path.startswith("/api/models/org/broken"):
            self.answer(500, b"", {})
        elif path.startswith("/api/models/org/only-gguf"):
            listed = [{"rfilename": "m.gguf", "size": 5}]
            self.answer_json({"id": "org/only-gguf", "sha": SHA, "siblings": listed})
        elif path.startswith("/api/models/org/tiny/tree/"):
            oids = {name: hashlib.sha1(data).hexdigest() for name, data in files.items()}
            tree = [{"type": "file", "path": n, "size": len(d), "oid": oids[n]} for n, d in files.items()]
            self.answer_json(tree)
        elif path.startswith("/api/models/org/tiny"):
            self.answer_json({"id": "org/tiny", "sha": SHA, "siblings": listed})
        elif path.startswith(f"/org/tiny/resolve/{SHA}/") and (name := path.rpartition("/")[2]) in files:
            etag = f'"{hashlib.sha1(files[name]).hexdigest()}"'
            self.answer(200, files[name], {"ETag": etag, "X-Repo-Commit": SHA})
        else:
            self.answer(404, b"", {"X-Error-Code": "RepoNotFound"})

    def answer_json(self, value: object) -> None:
        self.answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@pytest.fixture
def hub(tmp_path: Path, write_hf: WriteHf, tiny_model: Any) -> Iterator[Hub]:
    directory = write_hf(tmp_path / "served", tiny_model, dtype="bfloat16")
    files = {path.name: path.read_bytes() for path in directory.iterdir()}
    server = Hub({**files, "README.md": b"no", "consolidated.safetensors": b"no", "onnx/config.json": b"{}"})
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def prepare(model: str, tmp_path: Path, endpoint: str, **env: str) -> subprocess.CompletedProcess[str]:
    settings = {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "hf"), "PDPANEL_CACHE_DIR": str(tmp_path / "c")}
    command = [sys.executable, "-m", "pdpanel.engine.model.prepare", model]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "SGLANG_"))}
    return subprocess.run(command, env={**kept, **settings, **env}, capture_output=True, text=True)


def endpoint_of(hub: Hub) -> str:
    return f"http://127.0.0.1:{hub.server_port}"


def test_a_snapshot_is_downloaded_once_with_progress_and_token(tmp_path: Path, hub: Hub) -> None:
    first = prepare("org/tiny", tmp_path, endpoint_of(hub), HF_TOKEN="hf_secret")
    assert first.returncode == 0, first.stderr
    messages = [json.loads(line) for line in first.stdout.splitlines()]
    assert messages[-1]["name"] == messages[-1]["source"] == "org/tiny"
    wanted = {n: d for n, d in hub.files.items() if n.endswith((".json", ".safetensors")) and "/" not in n}
    del wanted["consolidated.safetensors"]
    total = sum(map(len, wanted.values()))
    assert {"stage": "download", "done": total, "total": total} in messages
    fetched = {path.rpartition("/")[2] for method, path, _ in hub.requests if method == "GET" and "resolve" in path}
    assert fetched == wanted.keys()
    assert {token for _, path, token in hub.requests if "/org/tiny" in path} == {"Bearer hf_secret"}
    hub.requests.clear()
    second = prepare("org/tiny", tmp_path, "http://127.0.0.1:1", HF_HUB_OFFLINE="1")
    assert second.returncode == 0, second.stderr
    assert second.stdout.splitlines() == first.stdout.splitlines()[-1:]
    assert not hub.requests


def test_an_incomplete_snapshot_is_completed(tmp_path: Path, hub: Hub) -> None:
    """Another program may have fetched the config alone, or have been stopped."""
    assert prepare("org/tiny", tmp_path, endpoint_of(hub)).returncode == 0
    (snapshot,) = (tmp_path / "hf/hub/models--org--tiny/snapshots").iterdir()
    assert is_complete_snapshot(snapshot)
    (snapshot / "model.safetensors").unlink()
    assert not is_complete_snapshot(snapshot)
    offline = prepare("org/tiny", tmp_path, endpoint_of(hub), HF_HUB_OFFLINE="1")
    assert offline.returncode == 2
    assert prepare("org/tiny", tmp_path, endpoint_of(hub)).returncode == 0
    assert is_complete_snapshot(snapshot)


@pytest.mark.parametrize(
    ("model", "env", "words"),
    [
        ("org/none", {}, "the Hub has no such model"),
        ("org/gated", {}, "the model is gated and this token has no access; ask for access"),
        ("org/broken", {}, "could not deliver it (Server error '500"),
        ("org/only-gguf", {}, "holds no transformers model in safetensors; choose another one, or download a .gguf"),
        ("org/tiny", {"HF_HUB_OFFLINE": "1"}, "not in the cache and HF_HUB_OFFLINE is set; unset HF_HUB_OFFLINE"),
        ("org/tiny", {"HF_ENDPOINT": "http://127.0.0.1:1"}, "not in the cache and the Hugging Face Hub could not"),
        ("org/a--b..c", {}, "it is no valid model id"),
        ("org/tiny", {"SGLANG_USE_MODELSCOPE": "true"}, "pip install modelscope"),
    ],
)
def test_each_failure_is_one_sentence(tmp_path: Path, hub: Hub, model: str, env: dict[str, str], words: str) -> None:
    done = prepare(model, tmp_path, endpoint_of(hub), **env)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"--model-path = '{model}': ")
    assert words in done.stderr
    error = json.loads(done.stdout.splitlines()[-1])["error"]
    assert (error["field"], error["value"]) == ("--model-path", model)


class FakeModelScope:
    """Stands in for the package `modelscope`, whose own download needs its site."""

    def __init__(self, directory: Path, *, cached: bool, broken: bool = False) -> None:
        self.directory, self.cached, self.broken = directory, cached, broken
        self.calls: list[dict[str, Any]] = []

    def snapshot_download(self, model_id: str, **options: Any) -> str:
        self.calls.append(options)
        if options.get("local_files_only") and not self.cached:
            raise ValueError(f"no snapshot of {model_id}")
        if self.broken:
            raise OSError("name resolution failed.\nmore")
        return str(self.directory)


def modelscope_environment(tmp_path: Path, **env: str) -> Environment:
    return read_environment({"PDPANEL_CACHE_DIR": str(tmp_path), "SGLANG_USE_MODELSCOPE": "1", **env})


@pytest.mark.parametrize("cached", [True, False])
def test_modelscope_is_asked_when_chosen(
    tmp_path: Path, write_hf: WriteHf, tiny_model: Any, monkeypatch: pytest.MonkeyPatch, cached: bool
) -> None:
    fake = FakeModelScope(write_hf(tmp_path / "m", tiny_model), cached=cached)
    monkeypatch.setitem(sys.modules, "modelscope", fake)  # type: ignore[arg-type]
    environment = modelscope_environment(tmp_path)
    assert fetch_snapshot("org/tiny", environment, no_progress) == tmp_path / "m"
    assert len(fake.calls) == (1 if cached else 2)
    assert "*.safetensors" in fake.calls[-1]["allow_patterns"]


def test_modelscope_failures_are_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeModelScope(tmp_path, cached=False, broken=True)
    monkeypatch.setitem(sys.modules, "modelscope", fake)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"ModelScope could not deliver it \(name resolution failed\)"):
        fetch_snapshot("org/tiny", modelscope_environment(tmp_path), no_progress)
    with pytest.raises(ConfigError, match="HF_HUB_OFFLINE is set"):
        fetch_snapshot("org/tiny", modelscope_environment(tmp_path, HF_HUB_OFFLINE="1"), no_progress)
