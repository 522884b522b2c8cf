from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from pdpanel.nic_probe import Netdev, Reading
from pdpanel.nic_probe.netdev import probe_netdevs
from pdpanel.nic_probe.sysfs import HostFiles

Grow = Callable[[Mapping[str, str]], Path]
UNASKED: Reading[Mapping[str, tuple[str, ...]]] = Reading.unreadable("kernel", "was not asked")


def _named(netdevs: tuple[Netdev, ...]) -> dict[str, Netdev]:
    return {netdev.name: netdev for netdev in netdevs}


def test_a_card_and_a_loopback(grow: Grow) -> None:
    device = "sys/devices/pci0000:80/0000:80:02.2/0000:82:00.0"
    files = {
        f"{device}/net/eth0/address": "00:11:22:33:44:55\n",
        f"{device}/net/eth0/mtu": "4200\n",
        f"{device}/net/eth0/speed": "100000\n",
        f"{device}/net/eth0/operstate": "up\n",
        f"{device}/net/eth0/type": "1\n",
        f"{device}/net/eth0/device": "-> ../../../0000:82:00.0",
        f"{device}/numa_node": "1\n",
        f"{device}/driver": "-> ../../../../bus/pci/drivers/mlx5_core",
        "sys/class/net/eth0": "-> ../../devices/pci0000:80/0000:80:02.2/0000:82:00.0/net/eth0",
        "sys/class/net/lo/mtu": "65536\n",
        "sys/class/net/lo/type": "772\n",
        "sys/class/net/lo/speed": "-1\n",
        "sys/class/net/bonding_masters": "bond0\n",
    }
    addresses: Reading[Mapping[str, tuple[str, ...]]] = Reading({"lo": ("127.0.0.1",)}, "table")
    found = _named(probe_netdevs(HostFiles(grow(files)), addresses))
    assert list(found) == ["eth0", "lo"]
    eth0, lo = found["eth0"], found["lo"]
    assert (eth0.mac.value, eth0.mtu.value, eth0.speed_mbps.value) == ("00:11:22:33:44:55", 4200, 100_000)
    assert (eth0.driver.value, eth0.pci.value, eth0.numa_node.value) == ("mlx5_core", "0000:82:00.0", 1)
    assert (eth0.operstate.value, eth0.addresses.value, eth0.loopback) == ("up", (), False)
    assert (lo.loopback, lo.addresses.value, lo.speed_mbps.known, lo.pci.known) == (
        True,
        ("127.0.0.1",),
        False,
        False,
    )


def test_the_pci_device_of_an_auxiliary_device_is_its_parent(grow: Grow) -> None:
    root = grow(
        {
            "sys/devices/pci0000:00/0000:00:03.0/virtio0/x": "",
            "sys/class/net/eth0/mtu": "1500",
            "sys/class/net/eth0/device": "-> ../../../devices/pci0000:00/0000:00:03.0/virtio0",
        }
    )
    (eth0,) = probe_netdevs(HostFiles(root), UNASKED)
    assert eth0.pci.value == "0000:00:03.0"
    assert eth0.addresses.reason == "was not asked"


def test_an_interface_that_leads_nowhere_is_still_listed(grow: Grow) -> None:
    (br0,) = probe_netdevs(HostFiles(grow({"sys/class/net/br0": "-> ../../devices/virtual/net/br0"})), UNASKED)
    assert (br0.name, br0.mtu.reason) == ("br0", "does not exist")


def test_numa_node_minus_one_is_unknown(grow: Grow) -> None:
    root = grow({"sys/class/net/eth0/mtu": "1500", "sys/class/net/eth0/device/numa_node": "-1\n"})
    (eth0,) = probe_netdevs(HostFiles(root), UNASKED)
    assert not eth0.numa_node.known


def test_the_capture_of_an_infiniband_host(capture: Callable[[str], Path]) -> None:
    root = capture("hwloc-sysfs/32em64t-2n8c+dax+nvme+mic+dimms.tar.bz2")
    found = _named(probe_netdevs(HostFiles(root), UNASKED))
    assert set(found) == {"br0", "eth0", "eth0.1015", "eth1", "ib0", "lo", "mic0"}
    assert (found["ib0"].pci.value, found["ib0"].numa_node.value) == ("0000:82:00.0", 1)
    assert found["ib0"].driver.value == "mlx4_core"


def test_the_capture_with_a_full_interface(capture: Callable[[str], Path]) -> None:
    found = _named(probe_netdevs(HostFiles(capture("procfs-sysfs/fixtures.ttar")), UNASKED))
    assert (found["eth0"].mtu.value, found["eth0"].speed_mbps.value) == (1500, 1000)
