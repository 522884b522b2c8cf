"""The whole survey of hosts that the tests make: what follows from places, fitness, filters and hidden devices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pdpanel.nic_probe.cpu import NumaNode
from pdpanel.nic_probe.gpus.gpu import Gpu, Vendor
from pdpanel.nic_probe.host import Host
from pdpanel.nic_probe.nics.device import RdmaDevice
from pdpanel.nic_probe.topology.choice import ib_device_value
from pdpanel.nic_probe.topology.mooncake import MooncakeTopology
from pdpanel.nic_probe.topology.pci import PciDevice, PciTree
from pdpanel.nic_probe.topology.survey import GpuNicPath, PathClass, Topology, survey_topology
from simulated_host import make_gpu, make_host, make_nic, make_pci, make_pci_tree, make_port, read, unread


def below_switch(switch: int, slot: int, **changes: Any) -> PciDevice:
    """Returns a function below a port of a switch; switches 0 and 1 are on node 0, 2 and 3 on node 1."""
    root = f"pci0000:{switch}0"
    above = (root, f"0000:{switch}0:01.0", f"0000:{switch}1:00.0", f"0000:{switch}2:{slot:02x}.0")
    return make_pci(f"0000:{switch}{slot + 3:x}:00.0", *above, numa_node=switch // 2, **changes)


def survey(
    tmp_path: Path,
    gpus: Sequence[Gpu],
    nics: Sequence[RdmaDevice],
    tree: PciTree,
    *,
    nodes: Sequence[tuple[int, str]] = ((0, "0-31"), (1, "32-63")),
    environ: dict[str, str] | None = None,
) -> tuple[Topology, Host]:
    host = make_host(tmp_path, tuple(gpus), tuple(nics), pci=tree)
    numa = tuple(NumaNode(number, read(cpus), unread()) for number, cpus in nodes)
    host = replace(
        host,
        source=tree.source,
        cpu=replace(host.cpu, numa_nodes=numa),
        state=replace(host.state, environ=read(environ or {})),
        netdevs=(),
    )
    return survey_topology(host), host


@pytest.fixture
def rails() -> tuple[list[Gpu], list[RdmaDevice], PciTree]:
    """Four switches with two GPUs and two NICs each."""
    places = [below_switch(switch, slot) for switch in range(4) for slot in range(4)]
    gpus = [place for number, place in enumerate(places) if number % 4 < 2]
    cards = [place for number, place in enumerate(places) if number % 4 >= 2]
    made_gpus = [make_gpu(place.address, number, numa_node=place.numa_node) for number, place in enumerate(gpus)]
    nics = [make_nic(f"mlx5_{number}", place.address, numa_node=place.numa_node) for number, place in enumerate(cards)]
    return made_gpus, nics, make_pci_tree(*places)


Rails = tuple[list[Gpu], list[RdmaDevice], PciTree]


def test_gpu_gets_the_nics_of_its_switch(rails: Rails, tmp_path: Path) -> None:
    topology, host = survey(tmp_path, *rails)
    assert topology.mooncake["cuda:5"] == (("mlx5_4", "mlx5_5"), tuple(f"mlx5_{n}" for n in (0, 1, 2, 3, 6, 7)))
    assert topology.mooncake["cpu:1"] == tuple(tuple(f"mlx5_{n}" for n in row) for row in ((4, 5, 6, 7), range(4)))
    assert list(topology.mooncake) == ["cpu:0", "cpu:1", *(f"cuda:{number}" for number in range(8))]
    assert topology.mooncake_alone == topology.mooncake
    assert topology.ib_devices[rails[0][5].pci] == ("mlx5_4", "mlx5_5")
    assert ib_device_value(topology, host).startswith('{"0": "mlx5_0,mlx5_1", "1": "mlx5_0,mlx5_1", "2": "mlx5_2,')
    assert [entry.fit for entry in topology.fitness] == [True] * 8
    assert topology.notes == ()


def test_paths_are_all_pairs_with_class_distance_and_source(rails: Rails, tmp_path: Path) -> None:
    gpus, nics, tree = rails
    topology, _ = survey(tmp_path, gpus, nics, tree)
    assert [(path.gpu, path.nic) for path in topology.paths] == [(gpu.pci, nic.name) for gpu in gpus for nic in nics]
    assert topology.paths[0] == GpuNicPath(gpus[0].pci, "mlx5_0", PathClass.PIX, 2, "sysfs", "same switch 0000:01:00.0")
    first = {path.nic: path for path in topology.paths if path.gpu == gpus[0].pci}
    assert (first["mlx5_2"].level, first["mlx5_2"].mooncake_distance) == (PathClass.NODE, 8)
    assert first["mlx5_7"].level is PathClass.SYS


def test_switches_group_gpus_and_nics(rails: Rails, tmp_path: Path) -> None:
    gpus, nics, tree = rails
    topology, _ = survey(tmp_path, gpus, nics, tree)
    assert topology.switches["0000:30:01.0"] == ((gpus[6].pci, gpus[7].pci), ("mlx5_6", "mlx5_7"))
    assert len(topology.switches) == 4


def test_unfit_nic_is_never_preferred_while_another_is_at_hand(rails: Rails, tmp_path: Path) -> None:
    gpus, nics, tree = rails
    nics[0] = replace(nics[0], ports=(make_port(rate_gbps=read(100.0)),))
    topology, _ = survey(tmp_path, gpus, nics, tree)
    others = tuple(f"mlx5_{number}" for number in (0, 2, 3, 4, 5, 6, 7))
    assert topology.mooncake["cuda:0"] == (("mlx5_1",), others)
    assert topology.mooncake_alone["cuda:0"][0] == ("mlx5_0", "mlx5_1")
    assert topology.mooncake["cpu:0"][0] == ("mlx5_1", "mlx5_2", "mlx5_3")
    assert topology.ib_devices[gpus[0].pci] == ("mlx5_1",)
    assert topology.notes == (
        "Mooncake alone would prefer mlx5_0 for cpu:0, cuda:0, cuda:1, but it is not for KV. "
        "It runs at 100 Gb/s, while mlx5_1 runs at 400.",
    )


def test_where_the_nearest_is_unfit_the_next_one_steps_in(rails: Rails, tmp_path: Path) -> None:
    gpus, nics, tree = rails
    nics[:2] = [replace(nic, management=read(True)) for nic in nics[:2]]
    topology, _ = survey(tmp_path, gpus, nics, tree)
    assert topology.mooncake["cuda:0"][0] == ("mlx5_2", "mlx5_3")
    assert set(topology.mooncake["cuda:0"][1]) == {f"mlx5_{number}" for number in (0, 1, 4, 5, 6, 7)}
    assert topology.ib_devices[gpus[0].pci] == ("mlx5_2", "mlx5_3")


def test_host_with_unfit_nics_alone_keeps_mooncakes_choice(rails: Rails, tmp_path: Path) -> None:
    gpus, nics, tree = rails
    unfit = [replace(nic, management=read(True)) for nic in nics]
    topology, host = survey(tmp_path, gpus, unfit, tree)
    assert topology.mooncake == topology.mooncake_alone
    assert topology.ib_devices == {gpu.pci: () for gpu in gpus}
    assert ib_device_value(topology, host) == ""


def test_unusable_nic_is_left_out_and_what_mooncake_would_do_is_told(rails: Rails, tmp_path: Path) -> None:
    gpus, nics, tree = rails
    without_gid = make_port(gids=(), usable=False, why_not="Its GID table is empty.")
    nics[0] = replace(nics[0], ports=(without_gid,), usable=False, why_not="Its GID table is empty.")
    down = make_port(state=read("DOWN"), usable=False)
    nics[1] = replace(nics[1], ports=(down,), usable=False, why_not="The port is DOWN.")
    topology, _ = survey(tmp_path, gpus, nics, tree)
    # Mooncake opens the first, whose port is ACTIVE, and passes over the second.
    assert topology.mooncake_alone["cuda:0"][0] == ("mlx5_0",)
    assert "mlx5_1" not in _names(topology.mooncake_alone)
    assert _names(topology.mooncake) == {f"mlx5_{number}" for number in range(2, 8)}
    assert topology.mooncake["cuda:0"][0] == ("mlx5_2", "mlx5_3")
    assert "Mooncake passes over mlx5_1. The port is DOWN." in topology.notes
    assert any(
        note.startswith("Mooncake alone would prefer mlx5_0 for cpu:0, cuda:0, cuda:1")
        and note.endswith("Its GID table is empty.")
        for note in topology.notes
    )


def _names(rows: MooncakeTopology) -> set[str]:
    return {name for preferred, others in rows.values() for name in (*preferred, *others)}


def test_filter_of_the_environment_counts(rails: Rails, tmp_path: Path) -> None:
    gpus, nics, tree = rails
    topology, _ = survey(tmp_path, gpus, nics, tree, environ={"MC_TE_FILTERS": "mlx5_2, mlx5_4"})
    assert _names(topology.mooncake) == _names(topology.mooncake_alone) == {"mlx5_2", "mlx5_4"}
    assert topology.ib_devices[gpus[0].pci] == ("mlx5_2",)
    assert topology.notes == (
        "Mooncake passes over mlx5_0, mlx5_1, mlx5_3, mlx5_5, mlx5_6, mlx5_7. MC_TE_FILTERS does not name it.",
    )


def test_rows_go_by_visible_numbers_and_hidden_gpus_have_none(rails: Rails, tmp_path: Path) -> None:
    gpus, nics, tree = rails
    hidden = [replace(gpu, visible_index=unread("is hidden")) for gpu in gpus]
    hidden[6] = replace(gpus[6], visible_index=read(0))
    hidden[1] = replace(gpus[1], visible_index=read(1))
    topology, host = survey(tmp_path, hidden, nics, tree)
    assert list(topology.mooncake) == ["cpu:0", "cpu:1", "cuda:0", "cuda:1"]
    assert topology.mooncake["cuda:0"][0] == ("mlx5_6", "mlx5_7")
    assert topology.mooncake["cuda:1"][0] == ("mlx5_0", "mlx5_1")
    assert ib_device_value(topology, host) == '{"0": "mlx5_6,mlx5_7", "1": "mlx5_0,mlx5_1"}'
    (note,) = topology.notes
    assert note.startswith(f"Mooncake has no row for GPU {gpus[0].pci}, {gpus[2].pci}")
    assert note.endswith("test is hidden.")


def test_ascend_has_rows_in_a_file_alone(rails: Rails, tmp_path: Path) -> None:
    gpus, nics, tree = rails
    topology, _ = survey(tmp_path, [replace(gpu, vendor=Vendor.HUAWEI) for gpu in gpus], nics, tree)
    assert "npu:0" in topology.mooncake
    assert list(topology.mooncake_alone) == ["cpu:0", "cpu:1"]
    assert any("rows npu:N" in note for note in topology.notes)


def test_bond_and_its_second_function(rails: Rails, tmp_path: Path) -> None:
    gpus, nics, tree = rails
    bond = replace(nics[0], name="mlx5_bond_0", bond=read("bond0"))
    topology, _ = survey(tmp_path, gpus, [bond, *nics[2:]], tree)
    assert topology.mooncake["cuda:1"][0] == ("mlx5_bond_0",)
    assert any("mlx5_bond_0 is the bond bond0" in note for note in topology.notes)


def test_dual_port_card_and_virtual_function_are_as_near_as_each_other(tmp_path: Path) -> None:
    gpu = below_switch(0, 0)
    above = below_switch(0, 1).chain[:-1]
    functions = [make_pci(f"0000:04:00.{number}", *above) for number in range(3)]
    nics = [make_nic(f"mlx5_{number}", function.address) for number, function in enumerate(functions)]
    nics[2] = replace(nics[2], physical_function=read("mlx5_0"))
    topology, _ = survey(tmp_path, [make_gpu(gpu.address)], nics, make_pci_tree(gpu, *functions))
    assert [(path.level, path.mooncake_distance) for path in topology.paths] == [(PathClass.PIX, 2)] * 3
    assert topology.mooncake["cuda:0"][0] == ("mlx5_0", "mlx5_1", "mlx5_2")
    assert topology.ib_devices[gpu.address] == ("mlx5_0", "mlx5_1")


def test_guest_on_one_root(tmp_path: Path) -> None:
    gpus = [make_pci(f"0000:00:1{slot}.0", "pci0000:00", numa_node=None) for slot in (6, 7)]
    card = make_pci("0000:00:15.0", "pci0000:00", numa_node=None)
    topology, host = survey(
        tmp_path,
        [make_gpu(gpu.address, number, numa_node=unread()) for number, gpu in enumerate(gpus)],
        [make_nic("rdmap0s21", card.address, driver=read("efa"), numa_node=unread())],
        make_pci_tree(*gpus, card),
    )
    assert {(path.level, path.mooncake_distance) for path in topology.paths} == {(PathClass.PHB, 0)}
    assert topology.mooncake == {
        "cpu:0": ((), ("rdmap0s21",)),
        "cpu:1": ((), ("rdmap0s21",)),
        "cuda:0": (("rdmap0s21",), ()),
        "cuda:1": (("rdmap0s21",), ()),
    }
    assert topology.switches == {}
    assert ib_device_value(topology, host) == "rdmap0s21"
    flat, numa = topology.notes
    assert "hypervisor" in flat and "NCCL_TOPO_FILE" in flat and "virtualTopology.xml" in flat
    assert numa == "The NUMA node of 0000:00:16.0, 0000:00:17.0, rdmap0s21 is not known; unknown is not far."


def test_guest_with_a_root_for_each_device(tmp_path: Path) -> None:
    gpu, card = make_pci("0001:00:00.0", "pci0001:00", numa_node=None), make_pci("0101:00:00.0", "pci0101:00")
    made = [make_gpu(gpu.address)], [make_nic("mlx5_0", card.address)], make_pci_tree(gpu, card)
    topology, _ = survey(tmp_path, *made)
    assert topology.paths[0].level is PathClass.UNKNOWN
    assert topology.mooncake["cuda:0"][0] == ("mlx5_0",)
    one_node, _ = survey(tmp_path, *made, nodes=[(0, "0-7"), (255, "")])
    assert one_node.paths[0].level is PathClass.NODE
    assert list(one_node.mooncake) == ["cpu:0", "cpu:255", "cuda:0"]
    assert any(note.endswith("without CPUs too: cpu:255.") for note in one_node.notes)


def test_software_nic_without_a_place(rails: Rails, tmp_path: Path) -> None:
    gpus, _, tree = rails
    software = replace(make_nic("rxe0"), pci=unread("is virtual"), numa_node=unread(), driver=read("rdma_rxe"))
    topology, host = survey(tmp_path, gpus, [software], tree)
    assert {(path.level, path.mooncake_distance) for path in topology.paths} == {(PathClass.UNKNOWN, -1)}
    assert topology.mooncake["cuda:0"] == topology.mooncake["cpu:0"] == ((), ("rxe0",))
    assert ib_device_value(topology, host) == "rxe0"


def test_mooncakes_count_may_prefer_a_nic_that_is_farther(tmp_path: Path) -> None:
    gpu = below_switch(0, 0)
    deep = make_pci("0000:05:00.0", "pci0000:00", *(f"0000:00:0{number}.0" for number in (2, 3, 4, 5, 6)))
    shallow = make_pci("0000:f0:00.0", "pci0000:f0", numa_node=0)
    nics = [make_nic("mlx5_0", deep.address), make_nic("mlx5_1", shallow.address)]
    topology, _ = survey(tmp_path, [make_gpu(gpu.address)], nics, make_pci_tree(gpu, deep, shallow))
    assert [path.level for path in topology.paths] == [PathClass.PHB, PathClass.NODE]
    assert topology.mooncake["cuda:0"][0] == ("mlx5_1",)
    assert topology.ib_devices[gpu.address] == ("mlx5_0",)
    assert any(
        note.startswith("Mooncake's rule prefers mlx5_1 for cuda:0, although mlx5_0 is nearer (PHB)")
        for note in topology.notes
    )


def test_source_of_a_topology_file_is_named_everywhere(tmp_path: Path) -> None:
    gpu = make_pci("0003:00:00.0", "cpu0", "ffff:ff:01.0")
    cards = [
        make_pci("0103:00:00.0", "cpu0", "ffff:ff:01.0"),
        make_pci("0105:00:00.0", "cpu3", "ffff:ff:04.0", numa_node=3),
    ]
    unsure = {"usable": None, "why_not": "the topology file does not say"}
    nics = [make_nic(card.address, card.address, **unsure) for card in cards]
    tree = make_pci_tree(gpu, *cards, source="nccl", flattened=True)
    topology, _ = survey(tmp_path, [make_gpu(gpu.address)], nics, tree)
    assert [(path.level, path.source) for path in topology.paths] == [(PathClass.PIX, "nccl"), (PathClass.SYS, "nccl")]
    assert topology.mooncake["cuda:0"][0] == ("0103:00:00.0",)
    assert "topology file (nccl)" in topology.notes[0]
    assert "names no RDMA device" in topology.notes[1]
    assert topology.notes[2] == "Whether Mooncake can use the NICs is not certain. The topology file does not say."


def test_source_without_a_tree_says_so(tmp_path: Path) -> None:
    gpu, card = make_pci("0004:05:00.0", numa_node=8), make_pci("0005:01:00.0", numa_node=8)
    nodes = [(0, "0-15"), (8, "88-103")]
    topology, _ = survey(
        tmp_path, [make_gpu(gpu.address)], [make_nic("mlx5_0", card.address)], make_pci_tree(gpu, card), nodes=nodes
    )
    assert topology.paths[0].level is PathClass.NODE
    assert topology.paths[0].mooncake_distance == -1
    assert any("no PCI tree" in note for note in topology.notes)


def test_host_without_gpus_or_nics_or_a_readable_list_of_them(rails: Rails, tmp_path: Path) -> None:
    gpus, nics, tree = rails
    without_gpus, _ = survey(tmp_path, [], nics, tree)
    assert without_gpus.paths == ()
    assert set(without_gpus.mooncake) == {"cpu:0", "cpu:1"}
    without_nics, host = survey(tmp_path, gpus, [], tree)
    assert without_nics.mooncake["cuda:7"] == ((), ())
    assert without_nics.notes == without_gpus.notes == ()
    assert survey_topology(replace(host, rdma=unread("permission denied"))) == without_nics


def test_absurd_numbers_of_devices_are_cut(tmp_path: Path) -> None:
    gpus = [make_gpu(f"{number:04x}:00:00.0", number) for number in range(130)]
    nics = [
        make_nic(f"mlx5_{number}", f"{number:04x}:01:00.0", usable=None, why_not="Untold.") for number in range(1030)
    ]
    topology, _ = survey(tmp_path, gpus, nics, make_pci_tree(), nodes=[(number, "0") for number in range(1500)])
    assert len(topology.paths) == 128 * 1024
    assert len(topology.mooncake) == 1024 + 128
    assert [note.split(";")[0] for note in topology.notes[:3]] == [
        "The source names 130 GPUs",
        "The source names 1030 NICs",
        "The source names 1500 NUMA nodes",
    ]
