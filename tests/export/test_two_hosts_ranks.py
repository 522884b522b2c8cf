"""Exported `sh` of workers whose ranks are on two hosts, which are network namespaces: their tokens are transformers'.

Everything is done as the export's README says: nodes are started in its order and at once, and stopped the other way;
each node has its firewall. Needs root and iproute2.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from exported_scripts import PATIENCE_S, Scripts, generate, marked_processes
from greedy_reference import Reference, greedy_reference, random_prompts
from namespaces import Hosts, run
from spare_ports import spare_ports

pytestmark = pytest.mark.timeout(580)

LLAMA, MIXTRAL = "random:llama-12h", "random:mixtral-8e"
LENGTHS, OUTPUT = (1, 17, 65, 197), 16
BOTH = {"count": 1, "tp": 2, "nodes": 2, "hosts": ["a", "b"]}
TWO_ON_A = {"count": 1, "tp": 2, "hosts": ["a"]}
ON_A, ON_B = {"count": 1, "hosts": ["a"]}, {"count": 1, "hosts": ["b"]}
TOPOLOGIES: dict[str, dict[str, Any]] = {
    "2 on a, 1 on b": {"prefill": TWO_ON_A, "decode": ON_B},
    "1 on b, 2 on a": {"prefill": ON_B, "decode": TWO_ON_A},
    "1 on b, 2 over both": {"prefill": ON_B, "decode": BOTH},
    "3 on a, 4 over both": {"prefill": TWO_ON_A | {"tp": 3}, "decode": BOTH | {"tp": 4}},
    "groups over both": {"prefill": BOTH, "decode": BOTH | {"attn_dp": 2}},
    "unified over both": {"unified": BOTH},
    "experts over both": {"unified": BOTH | {"ep": 2}},
    "experts over both by gloo": {"unified": BOTH | {"moe_a2a": "gloo"}},
    "experts over both by mooncake": {"unified": BOTH | {"moe_a2a": "mooncake"}},
    "pair with experts over both": {"prefill": BOTH | {"moe_a2a": "mooncake"}, "decode": ON_A},
}
STARTS = re.compile(r"on `(\w+)`: `\./(\w+)\.sh start`")
EXPERTS_BY = re.compile(r'"event": "expert_transport", .*"used": "(\w+)"')


@pytest.fixture(scope="module")
def references(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Reference]:
    """What transformers says, by model, once it was asked for."""
    return References(tmp_path_factory.mktemp("models"))


class References(dict[str, Reference]):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def __missing__(self, model: str) -> Reference:
        import torch
        from pdpanel.engine.model.random_models import write_random_model
        from transformers import AutoModelForCausalLM

        name = model.removeprefix("random:")
        folder = write_random_model(self._folder / name, name)
        loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        self[model] = found = greedy_reference(loaded, random_prompts(LENGTHS), OUTPUT)
        return found


class Nodes:
    """An export on its hosts."""

    def __init__(self, hosts: Hosts, scripts: Scripts) -> None:
        self.hosts = hosts
        self.scripts = scripts
        self.order = [name for name, _ in STARTS.findall((scripts.folder / "README.md").read_text())]
        assert sorted(self.order) == ["a", "b"]

    def protect(self) -> None:
        if shutil.which("nft") is not None:
            for name in self.order:
                loaded = run(*self.hosts.inside(name), "nft", "-f", str(self.scripts.folder / name / "firewall.nft"))
                assert loaded.returncode == 0, loaded.stderr

    def start(self) -> None:
        """Starts all nodes without waiting for one to finish."""
        started = [self.scripts.spawn(name, "start", prefix=self.hosts.inside(name)) for name in self.order]
        try:
            for process in started:
                told, _ = process.communicate(timeout=PATIENCE_S)
                assert process.returncode == 0, (told, self.scripts.logs())
        finally:
            for process in started:
                if process.poll() is None:
                    process.terminate()
                    process.communicate(timeout=PATIENCE_S)

    def call(self, name: str, *words: str, expect: int = 0) -> str:
        return self.scripts.call(name, *words, prefix=self.hosts.inside(name), expect=expect)

    def stop(self) -> None:
        for name in reversed(self.order):
            self.call(name, "stop")

    def log(self, name: str, process: str) -> str:
        return (self.scripts.folder / name / "logs" / f"{process}.log").read_text()


@contextlib.contextmanager
def running(hosts: Hosts, folder: Path, fields: Mapping[str, Any]) -> Iterator[Nodes]:
    """A deployment on both hosts; afterwards nothing of it is left on them."""
    places = {name: {"address": hosts.address(name)} for name in ("a", "b")}
    scripts = Scripts(folder / "work", {"hosts": places, **fields})
    scripts.environ["PDPANEL_CACHE_DIR"] = str(folder / "cache")
    nodes = Nodes(hosts, scripts)
    nodes.protect()
    try:
        nodes.start()
        yield nodes
    finally:
        nodes.stop()
    assert marked_processes(folder / "work") == []
    for name in nodes.order:
        nodes.call(name, "status", expect=3)
        assert hosts.listening(name) == ""


def router_of(nodes: Nodes) -> str:
    found = re.search(r"Clients talk to `(\S+)`", (nodes.scripts.folder / "README.md").read_text())
    assert found is not None
    return found[1]


def check(nodes: Nodes, name: str, expected: Reference) -> None:
    for node in nodes.order:
        assert "not ready" not in nodes.call(node, "status")
    url = router_of(nodes)
    expected.check(name, [nodes.hosts.generate(url, prompt, OUTPUT) for prompt in expected.prompts])


def test_a_prefill_worker_over_two_hosts(references: dict[str, Reference], hosts: Hosts, tmp_path: Path) -> None:
    """Each rank writes its heads into decode's pages; and a node that is stopped ends its worker with these words."""
    with running(hosts, tmp_path, {"model": LLAMA, "prefill": BOTH | {"port": 30000}, "decode": ON_A}) as nodes:
        check(nodes, "2 over both, 1 on a", references[LLAMA])
        info = hosts.ask("b", f"http://{hosts.address('a')}:30000/server_info")
        assert [rank["node"] for rank in info["ranks"]] == [0, 1]
        assert all(rank["kv_writes"] for rank in info["ranks"]), "both hosts send"
        assert (info["transfer"]["backend"], info["transfer"]["notice"]) == ("mooncake", ""), info["transfer"]
        if shutil.which("nft") is not None:
            for name in ("a", "b"):
                assert not hosts.reaches("stranger", hosts.address(name), 30000)
            assert hosts.reaches("a", hosts.address("b"), 30000) and hosts.reaches("b", hosts.address("a"), 30000)
        assert nodes.order == ["a", "b"], "so b is stopped first"
    second = info["ranks"][1]["pid"]
    assert f"(pid {second} on node 1) was told to end, with its node." in nodes.log("a", "prefill-0")


@pytest.mark.slow
@pytest.mark.parametrize("name", TOPOLOGIES)
def test_every_topology_says_what_transformers_says(
    references: dict[str, Reference], hosts: Hosts, tmp_path: Path, name: str
) -> None:
    model = MIXTRAL if "experts" in name else LLAMA
    with running(hosts, tmp_path, {"model": model, **TOPOLOGIES[name]}) as nodes:
        check(nodes, name, references[model])
        if "mooncake" in name:
            found = EXPERTS_BY.findall("".join(log.read_text() for log in nodes.scripts.folder.glob("*/logs/*.log")))
            assert found == ["mooncake"] * 2, "one on each host"


@pytest.mark.slow
@pytest.mark.parametrize("way", ["zmq_to_scheduler", "mooncake"])
@pytest.mark.parametrize("language", [{"unified": ON_B}, {"prefill": ON_B, "decode": ON_A}], ids=["unified", "pair"])
def test_an_encoder_on_another_host(hosts: Hosts, tmp_path: Path, way: str, language: Mapping[str, Any]) -> None:
    from tiny_llava import data_url, picture, png, write_tiny_llava

    llava = write_tiny_llava(tmp_path / "llava")
    pictures, prompt = [picture(1), picture(2, 30, 50)], [1, 50, 60, 319, 70, 319, 80, 90]  # 319 is the image token
    fields = {"model": str(llava.folder), "encoder": {**ON_A, "encoder_transfer": way}, **language}
    with running(hosts, tmp_path, fields) as nodes:
        images = {"image_data": [data_url(png(one)) for one in pictures]}
        found = hosts.generate(router_of(nodes), prompt, OUTPUT, images)
        assert found == llava.greedy(prompt, pictures, OUTPUT)


@pytest.mark.slow
def test_two_nodes_at_addresses_of_one_host(references: dict[str, Reference], tmp_path: Path) -> None:
    """Both nodes' scripts in one namespace: they use the same ports, each at its own address."""
    hosts = {"a": {"address": "127.0.0.1"}, "b": {"address": "127.0.0.2"}}
    port, bootstrap, decode, router, dist = spare_ports(5)
    fields = {
        "model": LLAMA,
        "hosts": hosts,
        "prefill": BOTH | {"port": port, "bootstrap_port": bootstrap, "dist_port": dist},
        "decode": ON_A | {"port": decode},
        "router": {"host": "127.0.0.1", "port": router},
    }
    scripts = Scripts(tmp_path / "work", fields)
    scripts.environ["PDPANEL_CACHE_DIR"] = str(tmp_path / "cache")
    other = scripts.spawn("b", "start")
    try:
        scripts.call("a", "start")
        told, _ = other.communicate(timeout=PATIENCE_S)
        assert other.returncode == 0, (told, scripts.logs())
        expected = references[LLAMA]
        url = f"http://127.0.0.1:{router}"
        expected.check("one host", [generate(url, prompt, OUTPUT) for prompt in expected.prompts])
        scripts.call("b", "stop")
    finally:
        if other.poll() is None:
            other.terminate()
            other.communicate(timeout=PATIENCE_S)
        for node in ("b", "a"):
            scripts.call(node, "stop")
    assert marked_processes(tmp_path / "work") == []
