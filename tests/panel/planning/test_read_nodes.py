from __future__ import annotations

from pathlib import Path

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.nic_probe.dump import write_dump
from pdpanel.panel.deployment import parse_deployment
from pdpanel.panel.planning.host_needs import needs_this_host
from pdpanel.panel.planning.read_nodes import probe_this_host, read_nodes
from simulated_node import grow_node

PAIR = {"model": "m", "unified": {"count": 1}}


def test_typed_lines_stand_for_every_host_of_a_range(tmp_path: Path) -> None:
    hosts = {"n[1-3]": {"gpus": 8, "gpu_memory_gib": 80, "nics": ["mlx5_0"], "nic_gbps": 400}, "n2": {"gpus": 4}}
    nodes = read_nodes(parse_deployment(PAIR | {"hosts": hosts}), tmp_path)
    assert {name: node.gpus for name, node in nodes.items()} == {"n1": 8, "n2": 4, "n3": 8}
    assert nodes["n1"].gpu_memory_bytes == 80 << 30
    assert (nodes["n1"].nics, nodes["n1"].nic_gbps, nodes["n2"].nics) == (("mlx5_0",), 400.0, None)


def test_a_dump_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_nodes(parse_deployment(PAIR | {"hosts": {"a": {"dump": "none.tar.gz"}}}), tmp_path)
    assert caught.value.field == "hosts.a.dump"


def test_a_dump_says_what_is_there_and_typed_lines_go_first(tmp_path: Path) -> None:
    node = grow_node(tmp_path / "node", gpus=2, nics=2, gids=8)
    write_dump(tmp_path / "dump.tar.gz", node.root)
    hosts = {"a": {"dump": "dump.tar.gz"}, "b": {"dump": "dump.tar.gz", "gpus": 2, "nics": ["typed"]}}
    nodes = read_nodes(parse_deployment(PAIR | {"hosts": hosts}), tmp_path)
    probed, typed = nodes["a"], nodes["b"]
    assert probed.host is not None
    assert probed.topology is not None
    assert probed.gpus == len(probed.host.gpus.devices)
    assert set(probed.nics or ()) == {fit.nic for fit in probed.topology.fitness if fit.fit}
    assert (typed.gpus, typed.nics, typed.host) == (2, ("typed",), probed.host)


def test_this_host_is_looked_at_only_where_the_plan_needs_it() -> None:
    assert not needs_this_host(parse_deployment(PAIR))
    assert not needs_this_host(parse_deployment(PAIR | {"nics": ["mlx5_0"]}))
    assert needs_this_host(parse_deployment(PAIR | {"nics": "affinity"}))
    assert needs_this_host(parse_deployment(PAIR | {"decode": {"nics": "affinity"}}))
    assert needs_this_host(parse_deployment(PAIR | {"gpu_selection": "uuid"}))
    facts = probe_this_host({})
    assert facts.host is not None
    assert facts.gpus == len(facts.host.gpus.devices)
