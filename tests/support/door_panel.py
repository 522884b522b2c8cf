"""Starts `door_process.py` and speaks HTTP to it as an attacker or a client would: raw, with any header."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pd_http import free_port

TOKEN = "door-test-token"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class DoorPanel:
    """One panel process."""

    folder: Path
    port: int
    guarded: bool
    process: subprocess.Popen[str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    @property
    def login_url(self) -> str:
        return f"{self.url}?token={TOKEN}"

    @property
    def uploads(self) -> Path:
        return self.folder / "uploads"

    def send(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Answer:
        """Returns the answer to exactly this request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            given = {"Host": f"127.0.0.1:{self.port}", **(headers or {})}
            if body is not None:
                given = {"Content-Length": str(len(body)), **given}
            for name, value in given.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Returns the JSON answer to an API client that has the token."""
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        answer = self.send(method, path, headers, None if method == "GET" else json.dumps(body or {}).encode())
        assert answer.status < 300, answer
        return answer.json

    def deploy(self) -> str:
        """Starts a simulated run and returns its id."""
        return self.ask("POST", "/api/runs", {"mode": "pd", "model": "SmolLM2-135M-Instruct"})["run"]

    def is_stopped(self, run_id: str) -> bool:
        """Returns True when somebody stopped the run."""
        (run,) = [run for run in self.ask("GET", "/api/runs")["runs"] if run["id"] == run_id]
        return run["state"] in ("stopping", "stopped")


@contextmanager
def door_panel(
    folder: Path, options: Sequence[str] = (), *, port: int | None = None, token: str = TOKEN
) -> Iterator[DoorPanel]:
    """Yields a panel that answers."""
    folder.mkdir(exist_ok=True)
    number = port or free_port()
    script = Path(__file__).with_name("door_process.py")
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", str(script), str(folder), str(number), token, *options],
        env=os.environ | {"PYTHONPATH": str(script.parent), "GRADIO_TEMP_DIR": str(folder / "uploads")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    output: list[str] = []
    ready = threading.Event()

    def read() -> None:
        assert process.stdout is not None
        with process.stdout as stream:
            for line in stream:
                output.append(line)
                if "panel at" in line:
                    ready.set()
        ready.set()

    reader = threading.Thread(target=read)
    reader.start()
    try:
        # A process that ends also ends the waiting, before its end can be polled.
        assert ready.wait(100) and any("panel at" in line for line in output), "".join(output)
        yield DoorPanel(folder, number, "--unguarded" not in options, process)
    finally:
        process.terminate()
        process.wait(20)
        reader.join(10)
