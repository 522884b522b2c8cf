"""The exported `sh` of a deployment over two hosts, which are network namespaces, with real etcd and its firewall.

Needs root, iproute2 and etcd. A third namespace is the stranger whom the exported nftables rules keep out.
"""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from exported_scripts import PATIENCE_S, PROMPTS, Scripts, marked_processes

pytestmark = pytest.mark.timeout(580)

NAMES = ("a", "b", "stranger")


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_S)


class Hosts:
    """Namespaces on one bridge, which is in a namespace of its own."""

    def __init__(self) -> None:
        # By chance, so that neither a run beside this one nor what a crashed one left is in the way.
        self._prefix = f"pdp{secrets.token_hex(4)}"
        self._made: list[str] = []

    def inside(self, name: str) -> tuple[str, ...]:
        return ("ip", "netns", "exec", f"{self._prefix}{name}")

    def address(self, name: str) -> str:
        return f"10.213.7.{NAMES.index(name) + 1}"

    def make(self) -> str:
        """Makes them; returns why not when that cannot be."""
        switch = f"{self._prefix}switch"
        try:
            for name in (switch, *(f"{self._prefix}{name}" for name in NAMES)):
                self._do("ip", "netns", "add", name)
                self._made.append(name)
                self._do("ip", "-n", name, "link", "set", "lo", "up")
            self._do("ip", "-n", switch, "link", "add", "br0", "type", "bridge")
            self._do("ip", "-n", switch, "link", "set", "br0", "up")
            for name in NAMES:
                space = f"{self._prefix}{name}"
                self._do(*f"ip -n {space} link add eth0 type veth peer name to-{name} netns {switch}".split())
                self._do("ip", "-n", switch, "link", "set", "dev", f"to-{name}", "master", "br0", "up")
                self._do("ip", "-n", space, "addr", "add", f"{self.address(name)}/24", "dev", "eth0")
                self._do("ip", "-n", space, "link", "set", "eth0", "up")
        except OSError as error:
            return str(error)
        return ""

    def remove(self) -> None:
        for name in reversed(self._made):
            run("ip", "netns", "del", name)

    def reaches(self, name: str, address: str, port: int) -> bool:
        script = 'timeout 2 bash -c \'exec 3<>"/dev/tcp/$1/$2"\' probe "$1" "$2"'
        return run(*self.inside(name), "bash", "-c", script, "probe", address, str(port)).returncode == 0

    def _do(self, *words: str) -> None:
        done = run(*words)
        if done.returncode:
            raise OSError(f"{' '.join(words)}: {done.stderr.strip()}")


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    for program in ("ip", "etcd", "curl"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    made = Hosts()
    try:
        problem = made.make()
        if problem:
            pytest.skip(f"network namespaces cannot be made: {problem}")
        yield made
    finally:
        made.remove()


def generate(hosts: Hosts, url: str, ids: list[int]) -> list[int]:
    sampling = {"temperature": 0, "max_new_tokens": 12, "ignore_eos": True}
    body = json.dumps({"input_ids": ids, "sampling_params": sampling})
    words = ("curl", "-sSf", "--noproxy", "*", "-H", "Content-Type: application/json", "-d", body, f"{url}/generate")
    done = run(*hosts.inside("stranger"), *words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["output_ids"]


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
        answers = [generate(hosts, f"http://{here}:8000", prompt) for prompt in PROMPTS]
        assert answers == unified_answers
        info = run(*hosts.inside("b"), "curl", "-s", "--noproxy", "*", f"http://{there}:30000/server_info")
        transfer = json.loads(info.stdout)["transfer"]
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
        assert run(*hosts.inside(name), "ss", "-Hltn").stdout == ""


def range_of(address: str) -> str:
    return f"http://{address}:2379/v3/kv/range"
