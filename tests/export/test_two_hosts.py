"""The exported `sh` of a deployment over two hosts, which are network namespaces, with real etcd and its firewall.

Needs root, iproute2 and etcd. A third namespace is the stranger whom the exported nftables rules keep out.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from exported_scripts import PATIENCE_S, PROMPTS, Scripts, marked_processes
from namespaces import Hosts, run

pytestmark = pytest.mark.timeout(580)


@pytest.mark.skipif(shutil.which("etcd") is None, reason="etcd is not installed")
def test_a_correct_answer_over_two_hosts(unified_answers: list[list[int]], hosts: Hosts, tmp_path: Path) -> None:
    here, there = hosts.address("a"), hosts.address("b")
    fields = {
        "prefill": {"count": 1, "hosts": ["a"]},
        "decode": {"count": 1, "hosts": ["b"]},
        "hosts": {"a": {"address": here}, "b": {"address": there}},
        "metadata": {"server": f"etcd://{here}:2379", "start": True, "node": "a"},
    }
    scripts = Scripts(tmp_path / "work", fields)
    filtered = shutil.which("nft") is not None
    if filtered:
        for name in ("a", "b"):
            loaded = run(*hosts.inside(name), "nft", "-f", str(scripts.folder / name / "firewall.nft"))
            assert loaded.returncode == 0, loaded.stderr
    # The other host first: its worker has to wait for etcd.
    second = scripts.spawn("b", "start", prefix=hosts.inside("b"))
    try:
        scripts.call("a", "start", prefix=hosts.inside("a"))
        told, _ = second.communicate(timeout=PATIENCE_S)
        assert second.returncode == 0, (told, scripts.logs())
        assert "decode-0 is ready" in told
        answers = [hosts.generate(f"http://{here}:8000", prompt) for prompt in PROMPTS]
        assert answers == unified_answers
        transfer = hosts.ask("b", f"http://{there}:30000/server_info")["transfer"]
        assert (transfer["backend"], transfer["notice"]) == ("mooncake", ""), transfer
        assert "Paris" in scripts.call("a", "test", prefix=hosts.inside("a"))
        keys = run(*hosts.inside("b"), "curl", "-s", "-d", '{"key": "AA==", "range_end": "AA=="}', range_of(here))
        assert int(json.loads(keys.stdout)["count"]) >= 2, "each worker registers with etcd"
        if filtered:
            for host, port in ((here, 30000), (here, 2379), (there, 30000)):
                assert not hosts.reaches("stranger", host, port)
                assert hosts.reaches("a", host, port) and hosts.reaches("b", host, port)
    finally:
        if second.poll() is None:
            second.terminate()
            second.communicate(timeout=PATIENCE_S)
        scripts.call("b", "stop", prefix=hosts.inside("b"))
        scripts.call("a", "stop", prefix=hosts.inside("a"))
    assert marked_processes(tmp_path / "work") == []
    for name in ("a", "b"):
        assert hosts.listening(name) == ""


def range_of(address: str) -> str:
    return f"http://{address}:2379/v3/kv/range"
