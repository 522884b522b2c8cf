"""Machines whose answer is known: the topology files and captures of shared/fixtures/hardware, read and surveyed.

The answers are those of SOURCES.md beside the files. The same rules are tested on trees of the tests' own in the
other files of this folder.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from pdpanel.nic_probe.host import Host, host_of_topology, probe_host
from pdpanel.nic_probe.sources.capture import open_capture
from pdpanel.nic_probe.sources.topology_file import read_topology_file
from pdpanel.nic_probe.topology.choice import ib_device_value
from pdpanel.nic_probe.topology.survey import PathClass, Topology, survey_topology

FIXTURES = Path(__file__).resolve().parents[4] / "shared" / "fixtures" / "hardware"

Survey = Callable[[str], tuple[Host, Topology]]


@pytest.fixture
def survey() -> Survey:
    if not FIXTURES.is_dir():
        pytest.skip(f"no hardware captures at {FIXTURES}")

    def read(name: str) -> tuple[Host, Topology]:
        path = FIXTURES / name
        host = (
            host_of_topology(read_topology_file(path)) if path.suffix == ".xml" else probe_host(open_capture(path), {})
        )
        return host, survey_topology(host)

    return read


def at(topology: Topology, level: str) -> dict[str, set[str]]:
    """Returns for each GPU the NICs at one class."""
    found: dict[str, set[str]] = {path.gpu: set() for path in topology.paths}
    for path in topology.paths:
        if path.level == level:
            found[path.gpu].add(path.nic)
    return found


def levels(topology: Topology) -> Counter[str]:
    return Counter(str(path.level) for path in topology.paths)


def test_sixteen_nics_below_four_switches(survey: Survey) -> None:
    host, topology = survey("nixl-aws-hwloc/p5en.48xl-topo.xml")
    nodes = {gpu.pci: gpu.numa_node.value for gpu in host.gpus.devices}
    nodes |= {nic.name: nic.numa_node.value for nic in host.rdma.otherwise(())}
    assert [(len(gpus), len(nics)) for gpus, nics in topology.switches.values()] == [(2, 4)] * 4
    below = [{nodes[name] for name in (*gpus, *nics)} for gpus, nics in topology.switches.values()]
    assert sorted(map(tuple, below)) == [(0,), (0,), (1,), (1,)]
    assert levels(topology) == {"PIX": 32, "NODE": 32, "SYS": 64}
    for gpus, nics in topology.switches.values():
        for gpu in gpus:
            assert at(topology, "PIX")[gpu] == set(nics)
            assert topology.ib_devices[gpu] == nics
    assert topology.mooncake["cuda:0"][0] == ("rdmap85s0", "rdmap86s0", "rdmap87s0", "rdmap88s0")
    assert {len(preferred) for row, (preferred, _) in topology.mooncake.items() if row.startswith("cuda:")} == {4}
    assert all(any("efa transport" in sign for sign in entry.signs) and entry.fit for entry in topology.fitness)


def test_guest_that_sees_no_switches(survey: Survey) -> None:
    _, topology = survey("nixl-aws-hwloc/p4d.24xl-topo.xml")
    assert topology.switches == {}
    assert levels(topology) == {"PHB": 8, "NODE": 8, "SYS": 16}
    assert at(topology, "PHB")["0000:20:1d.0"] == {"rdmap32s27"}
    assert topology.mooncake["cpu:1"][0] == ("rdmap144s27", "rdmap160s27")
    assert topology.mooncake["cuda:4"][0] == ("rdmap144s27",)
    assert any("NCCL_TOPO_FILE" in note for note in topology.notes)


def test_same_machine_from_its_providers_file_has_them(survey: Survey) -> None:
    _, topology = survey("aws-nccl-topo/p4d-24xl-topo.xml")
    nics = {"10": "rdmap16s27", "20": "rdmap32s27", "90": "rdmap144s27", "a0": "rdmap160s27"}
    expected = {f"0000:{bus}:{slot}.0": {nic} for bus, nic in nics.items() for slot in ("1c", "1d")}
    assert at(topology, "PIX") == expected
    assert levels(topology) == {"PIX": 8, "PHB": 8, "SYS": 16}
    assert [(len(gpus), len(below)) for gpus, below in topology.switches.values()] == [(2, 1)] * 4
    assert topology.mooncake["cuda:2"] == (("rdmap32s27",), ("rdmap16s27", "rdmap144s27", "rdmap160s27"))
    assert not any("NCCL_TOPO_FILE" in note for note in topology.notes)


def test_two_sources_of_one_machine_each_name_themselves(survey: Survey) -> None:
    _, guest = survey("nixl-aws-hwloc/p4d.24xl-topo.xml")
    _, told = survey("aws-nccl-topo/p4d-24xl-topo.xml")
    assert {path.source for path in guest.paths} == {"hwloc"}
    assert {path.source for path in told.paths} == {"nccl"}
    assert [(path.gpu, path.nic) for path in guest.paths] == [(path.gpu, path.nic) for path in told.paths]
    nearer = [new for old, new in zip(guest.paths, told.paths, strict=True) if new.level.rank < old.level.rank]
    assert Counter(path.level for path in nearer) == {PathClass.PIX: 8, PathClass.PHB: 8}


@pytest.mark.parametrize("name", ["g5.48xl", "p3dn.24xl"])
def test_guest_with_every_device_on_one_root(survey: Survey, name: str) -> None:
    host, topology = survey(f"nixl-aws-hwloc/{name}-topo.xml")
    assert topology.switches == {}
    assert levels(topology) == {"PHB": 8}
    assert topology.mooncake["cuda:7"] == (("rdmap0s21",), ())
    assert topology.mooncake["cpu:0"] == topology.mooncake["cpu:1"] == ((), ("rdmap0s21",))
    assert ib_device_value(topology, host) == "rdmap0s21"
    assert any("The NUMA node of" in note for note in topology.notes)


def test_one_switch_for_each_of_four_nodes(survey: Survey) -> None:
    host, topology = survey("azure-nccl-topo/ndv4-topo.xml")
    groups = {
        0: (("0003", "0004"), ("0103", "0104")),
        1: (("0001", "0002"), ("0101", "0102")),
        2: (("000d", "000e"), ("0107", "0108")),
        3: (("000b", "000c"), ("0105", "0106")),
    }
    nics = {nic.name: nic.pci.value for nic in host.rdma.otherwise(())}
    found = {gpu: {str(nics[nic]).partition(":")[0] for nic in names} for gpu, names in at(topology, "PIX").items()}
    assert found == {f"{gpu}:00:00.0": set(cards) for gpus, cards in groups.values() for gpu in gpus}
    assert levels(topology) == {"PIX": 16, "SYS": 48}
    nodes = {gpu.pci[:4]: gpu.numa_node.value for gpu in host.gpus.devices}
    assert nodes == {gpu: node for node, (gpus, _) in groups.items() for gpu in gpus}
    assert len(topology.switches) == 4


def test_interface_without_a_pci_address_is_no_rdma_nic(survey: Survey) -> None:
    host, topology = survey("azure-nccl-topo/ncv4-topo.xml")
    assert (topology.paths, topology.fitness, topology.switches) == ((), (), {})
    assert ib_device_value(topology, host) == ""
    assert topology.mooncake["cuda:3"] == ((), ())


def test_root_switch_for_each_node_with_switches_below(survey: Survey) -> None:
    _, topology = survey("rccl-topo/topo_8p_rome_4nics.xml")
    assert levels(topology) == {"PXB": 8, "SYS": 24}
    assert topology.switches == {
        "0000:03:00.0": (("0000:0a:00.0", "0000:0f:00.0"), ("mlx5_3",)),
        "0000:43:00.0": (("0000:4a:00.0", "0000:50:00.0"), ("mlx5_1",)),
        "0000:83:00.0": (("0000:8a:00.0", "0000:90:00.0"), ("mlx5_7",)),
        "0000:c4:00.0": (("0000:cb:00.0", "0000:d1:00.0"), ("mlx5_5",)),
    }
    # The file numbers the GPUs by another order than that of the bus.
    assert topology.mooncake["hip:0"][0] == ("mlx5_1",)
    assert topology.ib_devices["0000:4a:00.0"] == ("mlx5_1",)


@pytest.mark.parametrize("name", ["topo_4p2h_2nic", "topo_8p_pcie_2nic"])
def test_two_root_switches_of_one_node(survey: Survey, name: str) -> None:
    host, topology = survey(f"rccl-topo/{name}.xml")
    assert levels(topology) == {"PXB": 8, "PHB": 8}
    assert [(len(gpus), nics) for gpus, nics in topology.switches.values()] == [(4, ("mlx5_0",)), (4, ("mlx5_1",))]
    assert topology.mooncake["cpu:0"][0] == ("mlx5_0", "mlx5_1")
    assert ib_device_value(topology, host).startswith('{"0": "mlx5_0", "1": "mlx5_0"')


def test_nics_at_the_cpu_and_gpus_behind_bridges_of_their_own(survey: Survey) -> None:
    _, topology = survey("rccl-topo/topo_8p6l_6nic.xml")
    assert levels(topology) == {"PHB": 24, "SYS": 24}
    assert topology.switches == {}
    assert topology.ib_devices["0000:63:00.0"] == ("mlx5_0", "mlx5_1", "mlx5_2")


@pytest.mark.parametrize("suffix", ["xml", "tar.bz2"])
def test_hca_of_a_capture_and_of_its_answer(survey: Survey, suffix: str) -> None:
    host, topology = survey(f"hwloc-sysfs/32em64t-2n8c+dax+nvme+mic+dimms.{suffix}")
    assert host.pci.devices["0000:82:00.0"].chain == ("pci0000:80", "0000:80:02.2", "0000:82:00.0")
    assert topology.mooncake == {"cpu:0": ((), ("mlx4_0",)), "cpu:1": (("mlx4_0",), ())}
    assert topology.paths == ()


def test_gpu_memory_is_no_node_of_cpus(survey: Survey) -> None:
    host, topology = survey("hwloc-sysfs/nvidiagpunumanodes.tar.bz2")
    assert [gpu.numa_node.value for gpu in host.gpus.devices] == [0, 0, 0, 8, 8, 8]
    assert [host.pci.devices[gpu.pci].numa_node.value for gpu in host.gpus.devices] == [0, 0, 0, 8, 8, 8]
    assert all(device.chain == () and device.path == "" for device in host.pci.devices.values())
    assert set(topology.mooncake) >= {"cpu:0", "cpu:8", "cpu:255"}
    assert any("cpu:250, cpu:251" in note for note in topology.notes)


def test_nics_without_a_pci_device_have_no_place(survey: Survey) -> None:
    _, topology = survey("procfs-sysfs/fixtures.ttar")
    assert [entry.nic for entry in topology.fitness] == ["hfi1_0", "mlx4_0", "mlx5_0"]
    assert all(preferred == () for preferred, _ in topology.mooncake.values())
