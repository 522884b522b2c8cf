"""`pdpanel up` with the commands of another engine: the SGLang dialect and the real sglang-router.

SGLang needs a GPU, so a package of that name stands in for it here: its `launch_server` hands SGLang's own arguments to
the bundled engine, which takes the same ones. Everything else is what a person with SGLang would start.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml
from pd_http import free_port, post

pytestmark = pytest.mark.timeout(300)

STAND_IN = """
import runpy
runpy.run_module("pdpanel.engine.launch_server", run_name="__main__")
"""


class Cli:
    def __init__(self, state: Path) -> None:
        self.environment = os.environ | {"PDPANEL_STATE_DIR": str(state), "HF_HUB_OFFLINE": "1"}

    def run(self, *arguments: str, expect: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "pdpanel.panel.cli", *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert done.returncode == expect, (arguments, done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.fixture
def cli(smollm2, tmp_path: Path) -> Iterator[Cli]:
    made = Cli(tmp_path / "state")
    yield made
    made.run("down", "--all")


def deployment(folder: Path, **more: object) -> Path:
    package = folder / "lib" / "sglang"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "launch_server.py").write_text(STAND_IN)
    fields = {
        "engine": "sglang",
        "model": "smollm2-135m-instruct",
        "name": "foreign",
        "transport": "mooncake_tcp",
        "gpu_selection": "none",
        "prefill": {"count": 1},
        "decode": {"count": 1},
        "router": {"port": free_port(), "metrics_port": free_port(), "policy": "round_robin"},
        "run": {"venv": str(Path(sys.executable).parent.parent)},
        "env": {"PYTHONPATH": str(folder / "lib")},
        **more,
    }
    path = folder / "deployment.yaml"
    path.write_text(yaml.safe_dump(fields))
    return path


def test_a_deployment_of_sglang_is_agreed_to_starts_answers_and_leaves_nothing(cli: Cli, tmp_path: Path) -> None:
    path = deployment(tmp_path)
    refused = cli.run("up", str(path), expect=2)
    assert "sglang.launch_server" in refused and "PYTHONPATH=" in refused and "add --yes" in refused
    assert "deployment-runs-code" in refused

    cli.run("up", str(path), "--yes")
    run = json.loads(cli.run("status", "--json"))["runs"][0]
    assert run["state"] == "ready"
    assert {process["name"] for process in run["processes"]} == {"prefill-0", "decode-0", "router"}
    commands = [psutil.Process(process["pid"]).cmdline() for process in run["processes"]]
    assert sum("sglang.launch_server" in command for command in commands) == 2
    # The router gives its process a title of its own.
    assert [" ".join(command).split("::")[0] for command in commands].count("sglang") == 1, commands
    status, answer = post(
        run["router_url"] + "/generate",
        {"text": "The capital of France is", "sampling_params": {"temperature": 0, "max_new_tokens": 8}},
    )
    assert status == 200 and "Paris" in answer["text"], answer

    pids = [process["pid"] for process in run["processes"]]
    cli.run("down")
    assert not any(psutil.pid_exists(pid) for pid in pids)
    # The agreement is to this very deployment, and was remembered.
    cli.run("up", str(path))


def test_an_engine_that_is_not_installed_is_said_before_anything_starts(cli: Cli, tmp_path: Path) -> None:
    path = deployment(tmp_path, env={})
    said = cli.run("up", str(path), "--yes", expect=2)
    assert "without the package sglang" in said and "pdpanel recipe" in said
    assert json.loads(cli.run("status", "--json"))["runs"] == []


def test_another_hosts_processes_are_not_started_here(cli: Cli, tmp_path: Path) -> None:
    hosts = {role: {"count": 1, "hosts": [f"{role}.example"]} for role in ("prefill", "decode")}
    path = deployment(tmp_path, **hosts)
    said = cli.run("up", str(path), "--yes", expect=2)
    assert "decode.example" in said and "pdpanel export" in said
