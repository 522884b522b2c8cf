"""`pdpanel load` as a program: what it prints, what it saves, how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pretended_server import PretendedServer


@pytest.fixture(scope="module")
def server() -> Iterator[PretendedServer]:
    with PretendedServer(gap_s=0.002) as server:
        yield server


def command(state: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "pdpanel.panel.cli", "--state-dir", str(state), "load", *words]


def load(state: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(state, *words), capture_output=True, text=True, timeout=60, check=False)


def test_a_load_is_printed_and_saved_for_the_panel(tmp_path: Path, server: PretendedServer) -> None:
    done = load(tmp_path, server.url, "--requests", "8", "--concurrency", "2", "--output", "5", "--save", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert (found["requests_successful"], found["output_tokens"]) == (8, 40)
    (path,) = (tmp_path / "loads").iterdir()
    assert path.stem == found["id"]
    assert json.loads(path.read_text())["columns"]["output_tokens"] == 40


def test_an_interrupt_prints_what_was_measured(tmp_path: Path, server: PretendedServer) -> None:
    words = (server.url, "--requests", "1000000", "--concurrency", "2", "--output", "3")
    before = len(server.bodies)
    process = subprocess.Popen(
        command(tmp_path, *words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    while len(server.bodies) < before + 40:
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert out.splitlines()[1].startswith("stopped: ")
    assert "time to first token" in out
    assert "when the load was stopped" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("foo",), "url = 'foo': is no URL of a server"),
        (("--rate", "0"), "rate = 0.0"),
        (("--constant",), "has no --rate"),
        (("--burst", "--rate", "2"), "does not go with a rate"),
        (("--route", "x"), "--route = 'x': is no route"),
        (("--model", "other"), "model = 'other': is not served by"),
        (("--prompts", "/does/not/exist"), "prompts = '/does/not/exist'"),
    ],
)
def test_a_mistake_is_one_sentence_and_code_2(
    tmp_path: Path, server: PretendedServer, words: tuple[str, ...], said: str
) -> None:
    done = load(tmp_path, *(words if words[0] == "foo" else (server.url, *words)))
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("pdpanel: ")
    assert said in line
