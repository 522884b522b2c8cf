from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.nic_probe.cpu import NumaNode
from pdpanel.nic_probe.topology.pci import PciDevice
from pdpanel.nic_probe.topology.survey import survey_topology
from pdpanel.panel.planning.node_facts import NodeFacts
from sample_dialect import Placer
from simulated_host import make_gpu, make_host, make_nic, make_pci, make_pci_tree, read, unread

PREFILL = {"count": 1, "tp": 2}


def below_switch(switch: int, slot: int) -> PciDevice:
    above = (f"pci0000:{switch}0", f"0000:{switch}0:01.0", f"0000:{switch}1:00.0", f"0000:{switch}2:{slot:02x}.0")
    return make_pci(f"0000:{switch}{slot + 3:x}:00.0", *above, numa_node=0)


def facts(tmp_path: Path, gpus: int, nics: int, per_switch: int = 1) -> NodeFacts:
    """A host of as many GPUs and NICs, `per_switch` GPUs below each switch, and NICs below the first ones."""
    switches = -(-gpus // per_switch)
    cards = [below_switch(number // per_switch, number % per_switch) for number in range(gpus)]
    ports = [below_switch(number % switches, 8 + number // switches) for number in range(nics)]
    host = make_host(
        tmp_path,
        tuple(make_gpu(place.address, number, numa_node=read(0)) for number, place in enumerate(cards)),
        tuple(make_nic(f"mlx5_{number}", place.address) for number, place in enumerate(ports)),
        pci=make_pci_tree(*cards, *ports),
    )
    nodes = (NumaNode(0, read("0-31"), unread()),)
    host = replace(host, cpu=replace(host.cpu, numa_nodes=nodes), netdevs=())
    topology = survey_topology(host)
    return NodeFacts(
        gpus=gpus, nics=tuple(fit.nic for fit in topology.fitness if fit.fit), host=host, topology=topology
    )


def test_a_list_is_shared_and_auto_is_left_to_the_engine(placed: Placer) -> None:
    assert [worker.nics for worker in placed(nics=["mlx5_0", "mlx5_1", "mlx5_0"]).workers] == ["mlx5_0,mlx5_1"] * 2
    assert [worker.nics for worker in placed().workers] == ["", ""]
    own = placed(nics=["mlx5_0"], decode={"count": 1, "nics": ["mlx5_7"]})
    assert [worker.nics for worker in own.workers] == ["mlx5_0", "mlx5_7"]


def test_tcp_has_no_nics(placed: Placer) -> None:
    assert [worker.nics for worker in placed(nics=["mlx5_0"], transport="mooncake_tcp").workers] == ["", ""]


def test_the_keys_of_a_map_are_the_numbers_that_the_process_sees(placed: Placer, tmp_path: Path) -> None:
    nodes = {"": facts(tmp_path, 4, 4)}
    fields = {"nics": "affinity", "prefill": PREFILL, "decode": PREFILL}
    first, second = placed(nodes=nodes, **fields).workers
    assert json.loads(first.nics) == {"0": "mlx5_0", "1": "mlx5_1"}
    assert json.loads(second.nics) == {"2": "mlx5_2", "3": "mlx5_3"}
    for selection in ("visible-devices", "uuid"):
        _, second = placed(nodes=nodes, gpu_selection=selection, **fields).workers
        assert json.loads(second.nics) == {"0": "mlx5_2", "1": "mlx5_3"}


def test_one_list_is_enough_where_all_gpus_share_it(placed: Placer, tmp_path: Path) -> None:
    nodes = {"": facts(tmp_path, 4, 2, per_switch=2)}
    first, second = placed(nodes=nodes, nics="affinity", prefill=PREFILL, decode=PREFILL).workers
    assert (first.nics, second.nics) == ("mlx5_0", "mlx5_1")
    everything = placed(nodes=nodes, nics="affinity", prefill={"count": 1, "tp": 3}).workers[0]
    assert json.loads(everything.nics) == {"0": "mlx5_0", "1": "mlx5_0", "2": "mlx5_1"}


def test_affinity_needs_a_host_that_was_looked_at(placed: Placer, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs to know where GPUs and NICs of this host sit"):
        placed(nics="affinity")
    roles = {"prefill": {"count": 1, "hosts": ["a"]}, "decode": {"count": 1, "hosts": ["b"]}}
    with pytest.raises(ConfigError) as caught:
        placed(nics="affinity", nodes={"a": facts(tmp_path / "a", 1, 1)}, **roles)
    assert "hosts.b.dump" in caught.value.remedy
    with pytest.raises(ConfigError, match="finds no usable NIC for GPU 0 of this host"):
        placed(nics="affinity", nodes={"": facts(tmp_path / "b", 2, 0)})


def test_affinity_with_open_gpus_takes_what_all_share(placed: Placer, tmp_path: Path) -> None:
    shared = {"": facts(tmp_path / "one", 2, 1, per_switch=2)}
    assert placed(nodes=shared, nics="affinity", gpu_selection="none").workers[0].nics == "mlx5_0"
    with pytest.raises(ConfigError, match="leaves open which ones"):
        placed(nodes={"": facts(tmp_path / "two", 2, 2)}, nics="affinity", gpu_selection="none")


def test_a_map_that_misses_a_used_gpu_names_it(placed: Placer) -> None:
    whole = {str(gpu): ["mlx5_0"] for gpu in range(4)}
    made = placed(nics=whole, prefill=PREFILL, decode=PREFILL)
    assert {worker.nics for worker in made.workers} == {json.dumps(dict.fromkeys(whole, "mlx5_0"))}
    with pytest.raises(ConfigError) as caught:
        placed(nics={"0": ["mlx5_0"], "1": ["mlx5_0"], "2": ["mlx5_1"]}, prefill=PREFILL, decode=PREFILL)
    assert "GPU 3, which a worker on this host uses" in str(caught.value)
    with pytest.raises(ConfigError, match="GPU 1"):
        placed(nics={"0": ["mlx5_0"], "2": ["a"]}, prefill=PREFILL, gpu_selection="visible-devices")


def test_nics_that_a_known_host_lacks_are_named_with_those_it_has(placed: Placer, tmp_path: Path) -> None:
    roles = {"prefill": {"count": 1, "hosts": ["a"]}, "decode": {"count": 1, "hosts": ["a"]}}
    hosts = {"a": {"nics": ["mlx5_0", "mlx5_1"]}}
    with pytest.raises(ConfigError) as caught:
        placed(nics=["mlx5_0", "mlx5_7"], hosts=hosts, **roles)
    assert (caught.value.field, caught.value.value) == ("nics", "mlx5_7")
    assert caught.value.remedy == "write some of mlx5_0, mlx5_1"
    with pytest.raises(ConfigError) as caught:
        placed(workers={"nics": {"0": ["erdma_0"], "1": ["mlx5_0"]}}, hosts=hosts, **roles)
    assert caught.value.field == "workers.nics"
    with pytest.raises(ConfigError, match="it has no usable one"):
        placed(nics=["mlx5_0"], nodes={"": facts(tmp_path, 2, 0)})


def test_uuids_come_from_the_host(placed: Placer, tmp_path: Path) -> None:
    known = facts(tmp_path, 4, 1)
    assert known.host is not None
    uuids = [gpu.uuid.value for gpu in known.host.gpus.devices]
    made = placed(nodes={"": known}, gpu_selection="uuid", prefill=PREFILL, decode=PREFILL)
    assert [list(worker.visible) for worker in made.workers] == [uuids[:2], uuids[2:]]
    assert [worker.gpus for worker in made.workers] == [(0, 1), (2, 3)]
    with pytest.raises(ConfigError, match="needs the UUID of GPU 0 of this host"):
        placed(gpu_selection="uuid")
