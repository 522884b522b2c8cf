from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from pdpanel.nic_probe import RdmaDevice
from pdpanel.nic_probe.rdma import _gbps, probe_rdma
from pdpanel.nic_probe.sysfs import HostFiles

Grow = Callable[[Mapping[str, str]], Path]
ZERO = "0000:0000:0000:0000:0000:0000:0000:0000\n"


def _roce_port(device: str, gids: Mapping[int, str]) -> dict[str, str]:
    port = f"sys/class/infiniband/{device}/ports/1"
    files = {
        f"{port}/state": "4: ACTIVE\n",
        f"{port}/phys_state": "5: LinkUp\n",
        f"{port}/rate": "400 Gb/sec (4X NDR)\n",
        f"{port}/link_layer": "Ethernet\n",
        f"{port}/lid": "0x0\n",
    }
    for index, gid in gids.items():
        files[f"{port}/gids/{index}"] = gid
    return files


def _named(root: Path) -> dict[str, RdmaDevice]:
    devices = probe_rdma(HostFiles(root)).value
    assert devices is not None
    return {device.name: device for device in devices}


def test_a_roce_device(grow: Grow) -> None:
    mapped = "0000:0000:0000:0000:0000:ffff:c0a8:0105\n"
    port = "sys/class/infiniband/mlx5_0/ports/1"
    files = _roce_port("mlx5_0", {0: "fe80:0000:0000:0000:0a00:27ff:fe00:0001\n", 3: mapped, 10: ZERO})
    files |= {
        f"{port}/gid_attrs/types/0": "IB/RoCE v1\n",
        f"{port}/gid_attrs/types/3": "RoCE v2\n",
        f"{port}/gid_attrs/ndevs/3": "eth2\n",
        "sys/class/infiniband/mlx5_0/node_type": "1: CA\n",
        "sys/class/infiniband/mlx5_0/fw_ver": "28.39.1002\n",
        "sys/class/infiniband/mlx5_0/board_id": "MT_0000000838\n",
        "sys/class/infiniband/mlx5_0/device": "-> ../../../devices/pci0000:15/0000:15:01.0/0000:18:00.0",
        "sys/devices/pci0000:15/0000:15:01.0/0000:18:00.0/numa_node": "0\n",
        "sys/devices/pci0000:15/0000:15:01.0/0000:18:00.0/driver": "-> ../../../../bus/pci/drivers/mlx5_core",
        "sys/devices/pci0000:15/0000:15:01.0/0000:18:00.0/net/eth2/mtu": "4200\n",
    }
    device = _named(grow(files))["mlx5_0"]
    assert (device.node_type.value, device.firmware.value, device.board.value) == (
        "CA",
        "28.39.1002",
        "MT_0000000838",
    )
    assert (device.driver.value, device.pci.value, device.numa_node.value) == ("mlx5_core", "0000:18:00.0", 0)
    assert device.netdevs.value == ("eth2",)
    (port_1,) = device.ports
    assert (port_1.state.value, port_1.physical_state.value, port_1.active) == ("ACTIVE", "LinkUp", True)
    assert (port_1.rate_gbps.value, port_1.link_layer.value) == (400.0, "Ethernet")
    link_local, routable = port_1.gids
    assert (link_local.index, link_local.address, link_local.type.value) == (
        0,
        "fe80::a00:27ff:fe00:1",
        "IB/RoCE v1",
    )
    assert link_local.netdev.reason == "does not exist"
    assert (routable.index, routable.address, routable.netdev.value) == (3, "192.168.1.5", "eth2")


def test_a_broken_file_hides_nothing_else(grow: Grow) -> None:
    files = _roce_port("mlx5_0", {0: "not a gid\n", 1: "fe80:0000:0000:0000:0000:0000:0000:0001\n"})
    files |= {
        "sys/class/infiniband/mlx5_0/ports/1/rate": "much\n",
        "sys/class/infiniband/mlx5_0/ports/1/state": "N/A\n",
        **_roce_port("mlx5_1", {}),
        "sys/class/infiniband/mlx5_2/fw_ver": "1\n",
    }
    found = _named(grow(files))
    port = found["mlx5_0"].ports[0]
    assert port.rate_gbps.reason == "reads 'much', which is not a rate in Gb/sec"
    assert (port.state.known, port.active, port.physical_state.value) == (False, False, "LinkUp")
    assert [gid.index for gid in port.gids] == [1]
    assert found["mlx5_1"].ports[0].active
    assert found["mlx5_2"].ports == ()


def test_soft_devices_name_their_interface(grow: Grow) -> None:
    files = {**_roce_port("rxe0", {}), "sys/class/infiniband/rxe0/parent": "eth0\n"}
    device = _named(grow(files))["rxe0"]
    assert device.netdevs.value == ("eth0",)
    assert not device.pci.known


def test_no_directory_is_no_device(grow: Grow) -> None:
    devices = probe_rdma(HostFiles(grow({"sys/class/net/lo/mtu": "65536"})))
    assert (devices.value, devices.source) == ((), "/sys/class/infiniband")


def test_a_directory_that_cannot_be_listed_is_unreadable(grow: Grow) -> None:
    devices = probe_rdma(HostFiles(grow({"sys/class/infiniband": "a file where a folder belongs"})))
    assert devices.value is None
    assert devices.reason == "not a directory"


@given(st.decimals(min_value=0, max_value=10_000, places=1))
def test_rates_may_be_fractions(rate: object) -> None:
    assert _gbps(f"{rate} Gb/sec (1X SDR)") == float(str(rate))


def test_the_capture_with_a_pci_path(capture: Callable[[str], Path]) -> None:
    found = _named(capture("hwloc-sysfs/32em64t-2n8c+dax+nvme+mic+dimms.tar.bz2"))
    assert list(found) == ["mlx4_0"], "scif0 is a link that leads nowhere"
    device = found["mlx4_0"]
    assert (device.pci.value, device.numa_node.value, device.netdevs.value) == ("0000:82:00.0", 1, ("ib0",))
    assert (device.board.value, device.firmware.value, device.driver.value) == (
        "MT4099",
        "2.11.500",
        "mlx4_core",
    )
    (port,) = device.ports
    assert (port.active, port.physical_state.value, port.rate_gbps.value) == (True, "LinkUp", 56.0)
    assert (port.link_layer.value, port.lid.value) == ("InfiniBand", 0x3A4)
    assert [(gid.index, gid.address) for gid in port.gids] == [(0, "fe80::2:c903:f9:bfa1")]


def test_the_capture_of_three_drivers(capture: Callable[[str], Path]) -> None:
    found = _named(capture("procfs-sysfs/fixtures.ttar"))
    assert list(found) == ["hfi1_0", "mlx4_0", "mlx5_0"]
    assert found["hfi1_0"].board.otherwise("").startswith("HPE 100Gb 1-port OP101")
    assert [port.rate_gbps.value for port in found["mlx4_0"].ports] == [40.0, 40.0]
    assert [port.link_layer.value for port in found["mlx4_0"].ports] == ["InfiniBand", "InfiniBand"]
    mlx5 = found["mlx5_0"].ports[0]
    assert (mlx5.state.value, mlx5.physical_state.value, mlx5.rate_gbps.value) == ("ACTIVE", "ACTIVE", 25.0)
