from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pdpanel.nic_probe.gpus.gpu import Vendor
from pdpanel.nic_probe.sources.hwloc_xml import read_hwloc
from pdpanel.nic_probe.sources.safe_xml import parse_xml
from pdpanel.nic_probe.sources.topology_file import read_topology_file
from pdpanel.nic_probe.sources.xml_host import XmlHost


def numa(number: int, cpuset: str, more: str = "") -> str:
    return f'<object type="NUMANode" os_index="{number}" cpuset="{cpuset}" nodeset="{1 << number:#x}" {more}/>'


def function(address: str, kind: str, inner: str = "", speed: str = "0.000000") -> str:
    return f'<object type="PCIDev" pci_busid="{address}" pci_type="{kind}" pci_link_speed="{speed}">{inner}</object>'


def osdev(name: str, kind: int, infos: dict[str, str] | None = None, subtype: str = "") -> str:
    inner = "".join(f'<info name="{key}" value="{value}"/>' for key, value in (infos or {}).items())
    return f'<object type="OSDev" name="{name}" subtype="{subtype}" osdev_type="{kind}">{inner}</object>'


def bridge(inner: str, buses: str = "0000:[16-1a]", address: str = "") -> str:
    kind = f'bridge_type="1-1" pci_busid="{address}" pci_type="0604 [8086:2030] [0:0]"'
    if not address:
        kind = f'bridge_type="0-1" bridge_pci="{buses}"'
    return f'<object type="Bridge" {kind}>{inner}</object>'


def package(number: int, inner: str) -> str:
    return f'<object type="Package" os_index="{number}" nodeset="{1 << number:#x}">{inner}</object>'


def read(inner: str, version: str | None = "2.0", infos: str = "") -> XmlHost:
    attribute = "" if version is None else f' version="{version}"'
    machine = f'<object type="Machine" os_index="0" cpuset="0xff" nodeset="0x3">{infos}{inner}</object>'
    return read_hwloc(parse_xml(f"<topology{attribute}>{machine}</topology>".encode()), "file.xml")


GPU = "0302 [10de:2330] [10de:16c1] a1"
CX7 = "0200 [15b3:1021] [15b3:0041] 00"
IB = "0207 [15b3:1021] [15b3:0041] 00"
EFA = "0200 [1d0f:efa2] [1d0f:efa2] 00"
ENA = "0200 [1d0f:ec20] [1d0f:ec20] 00"


def test_a_chain_goes_from_the_host_bridge_to_the_device() -> None:
    host = read(
        package(
            0,
            numa(0, "0xf")
            + bridge(bridge(bridge(function("0000:19:00.0", GPU), address="0000:17:02.0"), address="0000:16:01.0")),
        )
        + package(1, numa(1, "0xf0"))
    )
    device = host.pci.devices["0000:19:00.0"]
    assert device.chain == ("pci0000:16", "0000:16:01.0", "0000:17:02.0", "0000:19:00.0")
    assert device.path == "sys/devices/pci0000:16/0000:16:01.0/0000:17:02.0/0000:19:00.0"
    assert list(host.pci.devices) == ["0000:16:01.0", "0000:17:02.0", "0000:19:00.0"]
    assert host.pci.devices["0000:16:01.0"].class_code.value == 0x0604
    assert (host.source, host.pci.source, host.pci.flattened) == ("hwloc", "hwloc", False)


def test_a_root_that_the_file_lacks_is_named_after_the_outermost_bus() -> None:
    host = read(bridge(function("0000:19:00.0", GPU), address="0000:16:01.0") + function("0000:20:00.0", GPU))
    assert host.pci.devices["0000:19:00.0"].chain == ("pci0000:16", "0000:16:01.0", "0000:19:00.0")
    assert host.pci.devices["0000:20:00.0"].chain == ()
    assert host.pci.devices["0000:20:00.0"].path == ""


def test_what_the_libraries_said_of_a_gpu_is_taken() -> None:
    infos = {"GPUModel": "NVIDIA H100", "CUDAGlobalMemorySize": "83000000KiB"}
    uuid = {"NVIDIAUUID": "GPU-1"}
    host = read(
        function("0000:19:00.0", GPU, osdev("cuda1", 5, infos, "CUDA") + osdev("nvml0", 1, uuid, "NVML"))
        + function("0000:1a:00.0", GPU, '<info name="PCIDevice" value="GH100"/>' + osdev("cuda0", 5))
        + function("0000:1b:00.0", "1200 [1002:74a1] [0:0] 00", osdev("rsmi0", 1, {"RSMIVRAMSize": "1024KiB"}))
    )
    first, second, third = host.gpus
    assert (first.name.value, first.uuid.value, first.memory_total_bytes.value) == (
        "NVIDIA H100",
        "GPU-1",
        83000000 << 10,
    )
    assert (first.cuda_index.value, first.nvml_index.value) == (1, 0)
    assert (second.name.value, second.cuda_index.value, second.vendor) == ("GH100", 0, Vendor.NVIDIA)
    assert (third.vendor, third.nvml_index.value, third.memory_total_bytes.value) == (Vendor.AMD, 0, 1 << 20)


def test_a_library_object_away_from_its_gpu_makes_no_gpu() -> None:
    host = read(
        function("0000:00:03.0", "0300 [1d0f:1111] [0:0] 00", osdev("opencl0d0", 5, {"GPUModel": "NVIDIA A10G"}))
    )
    assert host.gpus == ()


@pytest.mark.parametrize(
    ("version", "network", "rdma"), [("2.0", 2, 3), (None, 2, 3), ("3.0", 16, 48), ("2.0", 16, 32)]
)
def test_rdma_nics_are_told_from_interfaces_in_every_version(version: str | None, network: int, rdma: int) -> None:
    host = read(
        package(
            0,
            numa(0, "0xf")
            + bridge(
                function("0000:19:00.0", CX7, osdev("eth0", network, {"Address": "02::1"}) + osdev("mlx5_0", rdma))
            ),
        )
        + package(1, numa(1, "0xf0") + bridge(function("0000:9a:00.0", ENA, osdev("ens5", network)), "0000:[9a-9a]")),
        version,
    )
    (nic,) = host.rdma
    assert (nic.name, nic.pci.value, nic.numa_node.value, nic.netdevs.value) == ("mlx5_0", "0000:19:00.0", 0, ("eth0",))
    assert [(one.name, one.pci.value, one.numa_node.value) for one in host.netdevs] == [
        ("ens5", "0000:9a:00.0", 1),
        ("eth0", "0000:19:00.0", 0),
    ]
    assert host.netdevs[1].mac.value == "02::1"


def test_version_3_has_no_rdma_in_small_numbers() -> None:
    host = read(osdev("dax0.0", 3, subtype="NVM") + osdev("nvme0n1", 1), "3.0")
    assert (host.rdma, host.netdevs) == ((), ())


def test_fabrics_with_libraries_of_their_own_are_no_rdma_nics() -> None:
    assert read(function("0000:19:00.0", ENA, osdev("bxi0", 3, subtype="BXI"))).rdma == ()


def test_a_software_device_has_no_pci_address() -> None:
    (nic,) = read(osdev("rxe0", 3)).rdma
    assert (nic.name, nic.pci.value, nic.pci.reason, nic.numa_node.value) == ("rxe0", None, "has no PCI device", None)


def test_nics_without_an_os_device_are_known_by_their_function() -> None:
    inner = function("0000:55:00.0", EFA) + function("0000:56:00.0", IB) + function("0000:57:00.0", ENA)
    assert [nic.name for nic in read(inner).rdma] == ["0000:56:00.0", "rdmap85s0"]
    assert [nic.name for nic in read(inner + function("0000:58:00.0", CX7)).rdma][:2] == [
        "0000:56:00.0",
        "0000:58:00.0",
    ]
    # With network objects in the file, a Mellanox function that has only an interface is no RDMA NIC.
    named = read(inner + function("0000:58:00.0", CX7, osdev("eth0", 2)))
    assert [nic.name for nic in named.rdma] == ["0000:56:00.0", "rdmap85s0"]


@pytest.mark.parametrize(("speed", "whole"), [("31.507692", 31.51), ("0.000000", None), ("fast", None)])
def test_the_speed_of_a_link_cannot_be_split_into_lanes(speed: str, whole: float | None) -> None:
    link = read(function("0000:19:00.0", GPU, speed=speed)).pci.devices["0000:19:00.0"].link
    assert link.gb_per_s.value == whole
    assert {link.speed_gts.reason, link.width.reason} == {"the topology file does not say"}


def test_the_host_has_its_name() -> None:
    info = '<info name="HostName" value="node7"/>'
    assert read("", infos=info).name.value == "node7"
    assert read("").name.reason == "the topology file does not say"
    assert "--no-io" in read("").notes[0]


class TestRealFiles:
    @pytest.fixture
    def real(self, captures: Path) -> Callable[[str], XmlHost]:
        return lambda name: read_topology_file(captures / name)

    def test_a_guest_without_switches(self, real: Callable[[str], XmlHost]) -> None:
        host = real("nixl-aws-hwloc/p4d.24xl-topo.xml")
        assert len(host.gpus) == 8
        assert {nic.name: nic.numa_node.value for nic in host.rdma} == {
            "rdmap16s27": 0,
            "rdmap32s27": 0,
            "rdmap144s27": 1,
            "rdmap160s27": 1,
        }
        assert {len(device.chain) for device in host.pci.devices.values()} == {2}
        assert [node.id for node in host.numa_nodes] == [0, 1]

    def test_a_guest_with_switches(self, real: Callable[[str], XmlHost]) -> None:
        host = real("nixl-aws-hwloc/p5en.48xl-topo.xml")
        groups: dict[tuple[int | None, str], int] = {}
        for nic in host.rdma:
            uplink = host.pci.devices[nic.pci.otherwise("")].bridges[0]
            groups[nic.numa_node.value, uplink] = groups.get((nic.numa_node.value, uplink), 0) + 1
        assert (len(host.gpus), len(host.rdma)) == (8, 16)
        assert sorted(groups.values()) == [4, 4, 4, 4]
        assert sorted(node or 0 for node, _ in groups) == [0, 0, 1, 1]
        assert {gpu.name.value for gpu in host.gpus} == {"NVIDIA H200"}

    @pytest.mark.parametrize("name", ["g5.48xl", "p3dn.24xl"])
    def test_a_bridge_at_the_machine_has_no_node(self, real: Callable[[str], XmlHost], name: str) -> None:
        host = real(f"nixl-aws-hwloc/{name}-topo.xml")
        (nic,) = host.rdma
        assert (nic.name, nic.numa_node.value) == ("rdmap0s21", None)
        assert nic.numa_node.reason == "is attached to an object with 2 NUMA nodes"
        assert len(host.gpus) == 8
        assert {gpu.numa_node.value for gpu in host.gpus} == {None}

    def test_an_hca_with_its_port(self, real: Callable[[str], XmlHost]) -> None:
        host = real("hwloc-sysfs/32em64t-2n8c+dax+nvme+mic+dimms.xml")
        (nic,) = host.rdma
        (port,) = nic.ports
        assert (nic.name, nic.pci.value, nic.numa_node.value) == ("mlx4_0", "0000:82:00.0", 1)
        assert (nic.node_guid.value, nic.netdevs.value) == ("0002:c903:00f9:bfa0", ("ib0",))
        assert (port.state.value, port.lid.value, port.link_layer.value) == ("ACTIVE", 0x3A4, "InfiniBand")
        assert [gid.address for gid in port.gids] == ["fe80::2:c903:f9:bfa1"]
        assert [netdev.name for netdev in host.netdevs] == ["eth0", "eth1", "ib0"]
        assert host.gpus == ()
