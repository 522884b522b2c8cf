"""`pdpanel up`, `status`, `logs` and `down` with the real engine, as a person types them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = pytest.mark.timeout(400)

BYTES_PER_TOKEN = 23_040  # 2 (K, V) x 30 layers x 3 KV heads x 64 x 2 bytes
PAGE = 16


class Cli:
    """The command line with a state directory of its own."""

    def __init__(self, state: Path) -> None:
        self.environment = os.environ | {"PDPANEL_STATE_DIR": str(state)}

    def run(self, *arguments: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "pdpanel.panel.cli", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == expect, (arguments, done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stdout + done.stderr
        return done

    def status(self) -> list[dict[str, Any]]:
        return json.loads(self.run("status", "--json").stdout)["runs"]


@pytest.fixture(scope="module")
def cli(smollm2, tmp_path_factory) -> Iterator[Cli]:
    made = Cli(tmp_path_factory.mktemp("state"))
    yield made
    made.run("down", "--all")


def port_is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def generate(url: str, ids: list[int], output: int) -> dict[str, Any]:
    body = {"input_ids": ids, "sampling_params": {"temperature": 0, "max_new_tokens": output, "ignore_eos": True}}
    request = urllib.request.Request(url + "/generate", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=300) as response:
        return json.load(response)


def peak_rss_mb(pid: int) -> float:
    """Peak resident memory in MB (10^6 bytes), as the kernel counted it."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) * 1024 / 1e6


@pytest.fixture(scope="module")
def run(cli: Cli) -> dict[str, Any]:
    cli.run("up", "--name", "first")
    return next(r for r in cli.status() if r["id"].startswith("first"))


def test_status_has_the_promised_shape(run: dict[str, Any]) -> None:
    assert run["state"] == "ready"
    assert set(run) >= {"id", "state", "router_url", "processes"}
    by_name = {process["name"]: process for process in run["processes"]}
    assert set(by_name) == {"prefill-0", "decode-0", "router"}
    for process in by_name.values():
        assert set(process) >= {"name", "role", "pid", "port", "state"}
        assert process["state"] == "ready"
        assert psutil.pid_exists(process["pid"]) and port_is_open(process["port"])


def test_the_kv_of_a_prompt_travels_in_16_bits(run: dict[str, Any]) -> None:
    prefill = next(p for p in run["processes"] if p["name"] == "prefill-0")

    def moved() -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{prefill['port']}/metrics", timeout=10) as response:
            lines = response.read().decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("pdpanel_kv_bytes_total{"))

    before = moved()
    generate(run["router_url"], list(range(500, 600)), 3)
    assert moved() - before == 7 * PAGE * BYTES_PER_TOKEN


def test_memory_stays_within_its_budget_under_eight_long_sequences(run: dict[str, Any]) -> None:
    """8 sequences of 1,000 tokens: decode 1.2 GB, prefill 1.4 GB, router 120 MB, runner 60 MB."""
    with ThreadPoolExecutor(8) as pool:
        prompts = [[(7 * i + j) % 40000 + 100 for j in range(940)] for i in range(8)]
        answers = list(pool.map(lambda ids: generate(run["router_url"], ids, 60), prompts))
    assert all(answer["meta_info"]["completion_tokens"] == 60 for answer in answers)
    peaks = {process["name"]: peak_rss_mb(process["pid"]) for process in run["processes"]}
    runner = psutil.Process(run["processes"][0]["pid"]).parent()
    assert runner is not None and "pdpanel.panel.runner" in " ".join(runner.cmdline())
    peaks["runner"] = peak_rss_mb(runner.pid)
    print(peaks)
    budget = {"decode-0": 1200, "prefill-0": 1400, "router": 120, "runner": 60}
    assert {name: peak for name, peak in peaks.items() if peak > budget[name]} == {}


def test_the_log_says_where_the_start_went(cli: Cli, run: dict[str, Any]) -> None:
    log = cli.run("logs", "prefill-0", "--run", run["id"]).stdout
    phases = [json.loads(line)["phase"] for line in log.splitlines() if '"started"' in line]
    assert phases == [
        "import torch",
        "import engine",
        "resolve model",
        "tokenizer",
        "weights",
        "transport",
        "warm-up",
        "http",
    ]


def test_samples_show_the_link(cli: Cli, run: dict[str, Any]) -> None:
    """The runner samples whether or not anybody looks; a transfer shows on the link's series."""
    from pdpanel.panel.config import read_config
    from pdpanel.panel.runs import Runs

    runs = Runs(read_config(environ=cli.environment))
    generate(run["router_url"], list(range(500, 900)), 3)
    key = "link/prefill-0>decode-0/kv_bytes_per_s"
    deadline = time.monotonic() + 15
    while True:
        rows = runs.samples(run["id"], 0).rows
        if any(row.values.get(key) for row in rows):
            break
        assert time.monotonic() < deadline, [row.values for row in rows[-3:]]
        time.sleep(0.2)


def test_a_wrong_number_of_workers_is_one_sentence(cli: Cli) -> None:
    done = cli.run("up", "--prefill", "1", "--decode", "0", expect=2)
    assert "decode" in done.stderr and "0" in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_a_port_in_use_is_one_sentence(cli: Cli, run: dict[str, Any]) -> None:
    port = run["router_url"].rsplit(":", 1)[1]
    done = cli.run("up", "--port", port, expect=2)
    assert port in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_an_unknown_model_is_one_sentence_and_leaves_nothing(cli: Cli, run: dict[str, Any]) -> None:
    done = cli.run("up", "--model", "no-such-model", "--name", "bad", expect=1)
    assert "no-such-model" in done.stdout + done.stderr
    assert [r["state"] for r in cli.status() if r["id"].startswith("bad")] == ["failed"]


def test_down_leaves_no_process_and_no_port(cli: Cli) -> None:
    cli.run("up", "--name", "second", "--transport", "tcp")
    run = next(r for r in cli.status() if r["id"].startswith("second"))
    assert generate(run["router_url"], [1, 2, 3], 2)["meta_info"]["completion_tokens"] == 2
    pids = [process["pid"] for process in run["processes"]]
    ports = [process["port"] for process in run["processes"]]
    runner = psutil.Process(pids[0]).ppid()
    cli.run("down", "--run", run["id"])
    assert not [pid for pid in pids if psutil.pid_exists(pid)]
    assert not [port for port in ports if port_is_open(port)]
    deadline = time.monotonic() + 10
    while psutil.pid_exists(runner):
        assert time.monotonic() < deadline, "the runner goes when its run has ended"
        time.sleep(0.05)
    assert [r["state"] for r in cli.status() if r["id"] == run["id"]] == ["stopped"]


@pytest.mark.parametrize("preset", ["smollm2-1p1d", "smollm2-2p2d", "smollm2-unified"])
def test_every_preset_serves(cli: Cli, preset: str) -> None:
    """Each preset says that it was verified by the tests: this is where."""
    cli.run("up", "--preset", preset)
    run = next(r for r in cli.status() if r["id"].startswith(preset) and r["state"] == "ready")
    assert generate(run["router_url"], list(range(100, 140)), 3)["meta_info"]["completion_tokens"] == 3
    cli.run("down", "--run", run["id"])
