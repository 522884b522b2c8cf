from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pdpanel.nic_probe.gpus.gpu import Vendor
from pdpanel.nic_probe.sources.nccl_xml import read_nccl
from pdpanel.nic_probe.sources.safe_xml import parse_xml
from pdpanel.nic_probe.sources.topology_file import read_topology_file
from pdpanel.nic_probe.sources.xml_host import XmlHost


def pci(address: str, kind: str, inner: str = "", more: str = "") -> str:
    return f'<pci busid="{address}" class="{kind}" {more}>{inner}</pci>'


def net(name: str, guid: str = "0x48b9170003a1420c", port: int = 1, dev: int = 0, speed: int = 400000) -> str:
    return f'<nic><net name="{name}" dev="{dev}" speed="{speed}" port="{port}" guid="{guid}" gdr="1"/></nic>'


def cpu(inner: str, number: str = "0", more: str = 'affinity="000000ff,ffff0000,00ffffff"') -> str:
    return f'<cpu numaid="{number}" {more}>{inner}</cpu>'


def read(*cpus: str) -> XmlHost:
    return read_nccl(parse_xml(f'<system version="1">{"".join(cpus)}</system>'.encode()), "file.xml")


def test_a_switch_is_one_node_and_the_cpu_is_the_root() -> None:
    inner = pci("0000:1b:00.0", "0x030200", '<gpu dev="1" sm="90" rank="1"/>') + pci(
        "0000:1A:00.0", "0x020700", net("mlx5_0")
    )
    host = read(cpu(pci("ffff:ff:01.0", "0x060400", inner, 'link_speed="16.0 GT/s PCIe" link_width="16"')))
    (gpu,), (nic,) = host.gpus, host.rdma
    assert host.pci.flattened and host.pci.source == host.source == "nccl"
    assert host.pci.devices[gpu.pci].chain == ("cpu0", "ffff:ff:01.0", "0000:1b:00.0")
    assert host.pci.devices["0000:1a:00.0"].path == "sys/devices/cpu0/ffff:ff:01.0/0000:1a:00.0"
    assert (nic.name, nic.pci.value, nic.numa_node.value) == ("mlx5_0", "0000:1a:00.0", 0)
    assert [(port.number, port.rate_gbps.value) for port in nic.ports] == [(1, 400.0)]
    switch = host.pci.devices["ffff:ff:01.0"]
    assert (switch.link.max_speed_gts.value, switch.link.max_width.value, switch.link.width.value) == (16.0, 16, None)
    assert (gpu.cuda_index.value, gpu.nvml_index.value, gpu.architecture.value) == (1, 1, "9.0")
    assert [(node.id, node.cpus.value) for node in host.numa_nodes] == [(0, "0-23,48-71")]


@pytest.mark.parametrize(
    ("attributes", "vendor", "architecture"),
    [
        ('sm="80"', Vendor.NVIDIA, "8.0"),
        ('sm="120"', Vendor.NVIDIA, "12.0"),
        ('sm="120" gcn="908"', Vendor.AMD, "gfx908"),
        ('sm="120" gcn="910"', Vendor.AMD, "gfx90a"),
        ('sm="94" gcn="gfx942:sramecc+:xnack-"', Vendor.AMD, "gfx942"),
        ("", Vendor.NVIDIA, None),
    ],
)
def test_the_architecture_of_a_gpu(attributes: str, vendor: Vendor, architecture: str | None) -> None:
    (gpu,) = read(cpu(pci("0000:1b:00.0", "0x038000", f"<gpu {attributes}/>"))).gpus
    assert (gpu.vendor, gpu.architecture.value) == (vendor, architecture)


def test_a_gpu_is_known_by_its_class_or_by_its_element() -> None:
    host = read(
        cpu(
            pci("0000:01:00.0", "0x030200")
            + pci("0000:02:00.0", "0x03", "<gpu dev='7'/>")
            + pci("0000:03:00.0", "0x120000", more='vendor="0x1002"')
            + pci("0000:04:00.0", "0x030000", more='vendor="0x1a03"')
            + pci("0000:05:00.0", "0x068000", more='vendor="0x10de"')
        )
    )
    assert [(gpu.pci, gpu.vendor) for gpu in host.gpus] == [
        ("0000:01:00.0", Vendor.NVIDIA),
        ("0000:02:00.0", Vendor.NVIDIA),
        ("0000:03:00.0", Vendor.AMD),
    ]


def test_the_interfaces_of_the_socket_transport_are_no_rdma_nics() -> None:
    host = read(
        cpu(
            net("eth0", guid="0x0", port=0)
            + pci("0000:01:00.0", "0x020000", net("eth1", guid="0x1", port=0, dev=1), 'vendor="0x15b3"')
            + pci("0000:02:00.0", "0x020000", net("mlx5_0", guid="0x1", port=1, dev=1))
        )
    )
    assert [nic.name for nic in host.rdma] == ["mlx5_0"]
    eth0, eth1 = host.netdevs
    assert (eth0.name, eth0.pci.value, eth0.pci.reason, eth0.numa_node.value) == (
        "eth0",
        None,
        "has no PCI device",
        None,
    )
    assert (eth1.pci.value, eth1.numa_node.value, eth1.speed_mbps.value) == ("0000:01:00.0", 0, 400000)


def test_an_rdma_nic_needs_no_pci_device() -> None:
    (nic,) = read(cpu(net("mlx5_0"))).rdma
    assert (nic.name, nic.pci.reason, nic.numa_node.known) == ("mlx5_0", "has no PCI device", False)


def test_unnamed_nics_are_known_by_their_function() -> None:
    efa = pci("0000:10:1b.0", "0x020000", more='vendor="0x1d0f" device="0xefa0"')
    mellanox = pci("0000:11:00.0", "0x020000", more='vendor="0x15b3"')
    infiniband = pci("0101:00:00.0", "0x020700")
    plain = pci("0000:12:00.0", "0x020000", more='vendor="0x1d0f" device="0xec20"')
    bare = read(cpu(efa + mellanox + infiniband + plain))
    assert [nic.name for nic in bare.rdma] == ["0000:11:00.0", "0101:00:00.0", "rdmap16s27"]
    # Where the file names ports, a function of plain Ethernet without one is none of NCCL's.
    named = read(cpu(efa + mellanox + infiniband + plain + pci("0000:13:00.0", "0x020000", net("mlx5_4"))))
    assert [nic.name for nic in named.rdma] == ["0101:00:00.0", "mlx5_4", "rdmap16s27"]


def test_ports_of_one_nic_are_put_together_and_merged_nics_taken_apart() -> None:
    two = '<nic><net name="mlx4_0" port="1" guid="0x5"/><net name="mlx4_0" port="2" guid="0x5"/></nic>'
    host = read(cpu(pci("0000:01:00.0", "0x020700", two) + pci("0000:02:00.0", "0x020700", net("mlx5_0+mlx5_1"))))
    assert [(nic.name, [port.number for port in nic.ports]) for nic in host.rdma] == [
        ("mlx4_0", [1, 2]),
        ("mlx5_0", [1]),
        ("mlx5_1", [1]),
    ]
    # Of merged NICs the file has the sum.
    assert not host.rdma[1].ports[0].rate_gbps.known


def test_an_unknown_node_stays_unknown() -> None:
    host = read(cpu(pci("0000:01:00.0", "0x030200"), number="-1", more=""))
    (gpu,) = host.gpus
    assert (gpu.numa_node.value, host.pci.devices[gpu.pci].chain) == (None, ("cpu-1", "0000:01:00.0"))
    assert host.numa_nodes == ()


def test_of_several_hosts_the_first_is_read() -> None:
    one = cpu(pci("0000:01:00.0", "0x030200"), more='host_hash="0x1"')
    other = cpu(pci("0000:02:00.0", "0x030200"), more='host_hash="0x2"')
    host = read(one, other)
    assert [gpu.pci for gpu in host.gpus] == ["0000:01:00.0"]
    assert host.notes == ("The topology file describes 2 hosts; this is the first.",)


def test_devices_that_make_no_sense_are_noted() -> None:
    inner = pci("0000:01:00.0", "0x030200")
    host = read(cpu(inner + inner + pci("the GPU", "0x060400", pci("0000:02:00.0", "0x030200"))))
    assert [gpu.pci for gpu in host.gpus] == ["0000:01:00.0", "0000:02:00.0"]
    assert sorted(host.notes) == [
        "The topology file names a PCI device '0000:01:00.0', more than once.",
        "The topology file names a PCI device 'the GPU', which is no PCI address.",
    ]
    assert host.pci.devices["0000:02:00.0"].chain == ("cpu0", "0000:02:00.0")


class TestRealFiles:
    @pytest.fixture
    def real(self, captures: Path) -> Callable[[str], XmlHost]:
        return lambda name: read_topology_file(captures / name)

    def test_infiniband_nics_without_names(self, real: Callable[[str], XmlHost]) -> None:
        host = real("azure-nccl-topo/ndv4-topo.xml")
        below: dict[str, set[str]] = {}
        for address, device in host.pci.devices.items():
            if device.bridges:
                below.setdefault(device.bridges[-1], set()).add(address.partition(":")[0])
        assert sorted(map(sorted, below.values())) == [
            ["0001", "0002", "0101", "0102"],
            ["0003", "0004", "0103", "0104"],
            ["000b", "000c", "0105", "0106"],
            ["000d", "000e", "0107", "0108"],
        ]
        nodes = {gpu.pci[:4]: gpu.numa_node.value for gpu in host.gpus}
        assert nodes == {"0001": 1, "0002": 1, "0003": 0, "0004": 0, "000b": 3, "000c": 3, "000d": 2, "000e": 2}
        assert len(host.rdma) == 8

    def test_a_host_without_rdma(self, real: Callable[[str], XmlHost]) -> None:
        host = real("azure-nccl-topo/ncv4-topo.xml")
        assert (len(host.gpus), host.rdma) == (4, ())
        assert [(one.name, one.pci.value) for one in host.netdevs] == [("eth0", None)]
        assert [gpu.numa_node.value for gpu in host.gpus] == [0, 1, 2, 3]

    def test_two_gpus_and_an_efa_below_each_switch(self, real: Callable[[str], XmlHost]) -> None:
        host = real("aws-nccl-topo/p4d-24xl-topo.xml")
        near = {nic.name: host.pci.devices[nic.pci.otherwise("")].bridges for nic in host.rdma}
        assert list(near) == ["rdmap16s27", "rdmap32s27", "rdmap144s27", "rdmap160s27"]
        for gpu in host.gpus:
            (name,) = (name for name, bridges in near.items() if bridges == host.pci.devices[gpu.pci].bridges)
            assert name == f"rdmap{int(gpu.pci[5:7], 16)}s27"

    @pytest.mark.parametrize(
        ("name", "nodes", "rates"),
        [
            ("topo_8p_rome_4nics", 4, {f"mlx5_{n}": 200.0 for n in (1, 3, 5, 7)}),
            ("topo_8p6l_6nic", 2, {f"mlx5_{n}": 200.0 for n in range(6)}),
            ("topo_4p2h_2nic", 1, {"mlx5_0": 100.0, "mlx5_1": 100.0}),
            ("topo_8p_pcie_2nic", 1, {"mlx5_0": 100.0, "mlx5_1": 100.0}),
        ],
    )
    def test_amd_servers(self, real: Callable[[str], XmlHost], name: str, nodes: int, rates: dict[str, float]) -> None:
        host = real(f"rccl-topo/{name}.xml")
        assert {gpu.vendor for gpu in host.gpus} == {Vendor.AMD}
        assert sorted(gpu.cuda_index.otherwise(-1) for gpu in host.gpus) == list(range(8))
        assert len(host.numa_nodes) == nodes
        assert {nic.name: nic.ports[0].rate_gbps.value for nic in host.rdma} == rates
