"""The exported `sh` of one prefill and one decode worker on this host: an answer, and nothing left by its stop."""

from __future__ import annotations

import json
import socket
import urllib.request
from pathlib import Path

import pytest
from exported_scripts import PROMPTS, Scripts, generate, marked_processes
from spare_ports import spare_ports

pytestmark = pytest.mark.timeout(580)


def test_a_correct_answer_and_nothing_left(unified_answers: list[list[int]], tmp_path: Path) -> None:
    prefill, bootstrap, decode, router = ports = spare_ports(4)
    fields = {
        "prefill": {"count": 1, "port": prefill, "bootstrap_port": bootstrap},
        "decode": {"count": 1, "port": decode},
        "router": {"port": router},
    }
    scripts = Scripts(tmp_path / "work", fields)
    assert "router is ready" in scripts.call("pd", "start")
    try:
        assert scripts.call("pd", "status").count(" ready ") == 3
        assert [generate(f"http://127.0.0.1:{router}", prompt) for prompt in PROMPTS] == unified_answers
        with urllib.request.urlopen(f"http://127.0.0.1:{prefill}/server_info", timeout=120) as answer:
            assert json.load(answer)["transfer"]["backend"] == "mooncake"
        assert "Paris" in scripts.call("pd", "test")
        assert len(marked_processes(tmp_path / "work")) >= 3
    finally:
        scripts.call("pd", "stop")
    scripts.call("pd", "status", expect=3)
    assert marked_processes(tmp_path / "work") == []
    for port in ports:
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0
