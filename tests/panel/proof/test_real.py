"""A real prefill and a real decode worker on this host: where their KV travels shows in the kernel's counters."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pd_http import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def pdpanel(state: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pdpanel.panel.cli", "--state-dir", str(state), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "state"
    pdpanel(tmp_path / "state", "down", "--all")


@pytest.mark.parametrize(
    ("transport", "way", "carries"),
    [("tcp", "loopback", True), ("mooncake_tcp", "loopback", True), ("shm", "shared-memory", False)],
)
def test_the_counters_of_the_kernel_say_which_way(state: Path, transport: str, way: str, carries: bool) -> None:
    port = str(free_port())
    up = pdpanel(state, "up", "--prefill", "1", "--decode", "1", "--transport", transport, "--port", port, "-y")
    assert up.returncode == 0, up.stderr
    said = pdpanel(state, "proof", "--json")
    assert said.returncode == 0, said.stderr + said.stdout
    proof = json.loads(said.stdout)
    assert (proof["verdict"]["way"], proof["verdict"]["as_asked"]) == (way, True)
    loopback = next(one for one in proof["evidence"] if one["name"] == "lo")
    moved = loopback["after"][0] - loopback["before"][0] - loopback["background"][0]
    assert (moved > 0.7 * proof["expected_bytes"]) is carries
    kept = next((state / "runs").glob("*/proof.json"))
    assert json.loads(kept.read_text())["verdict"] == proof["verdict"]
