from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.nic_probe.netdev import Netdev, pci_address, probe_netdevs
from pdpanel.nic_probe.reading import Reading
from pdpanel.nic_probe.sources.files import HostFiles
from rdma_tree import LiveTree, memory_tree, netdev

Grow = Callable[[Mapping[str, str]], Path]
CARD = "sys/devices/pci0000:80/0000:80:02.2/0000:82:00.0"


def _named(files: HostFiles) -> dict[str, Netdev]:
    return {one.name: one for one in probe_netdevs(files)}


def _memory(files: Mapping[str, str]) -> dict[str, Netdev]:
    return _named(HostFiles(memory_tree(files)))


def test_a_card_and_a_loopback(grow: Grow) -> None:
    files = {
        **netdev("eth0", CARD, address="00:11:22:33:44:55\n", mtu="4200\n", speed="100000\n", carrier="1\n"),
        f"{CARD}/net/eth0/dev_port": "1\n",
        f"{CARD}/numa_node": "1\n",
        f"{CARD}/driver": "-> ../../../../bus/pci/drivers/mlx5_core",
        "sys/class/net/lo/mtu": "65536\n",
        "sys/class/net/lo/type": "772\n",
        "sys/class/net/lo/speed": "-1\n",
        "sys/class/net/bonding_masters": "bond0\n",
        "pdpanel/facts.json": '{"addresses": {"lo": ["127.0.0.1/8"]}}',
    }
    found = _named(HostFiles(grow(files)))
    assert list(found) == ["eth0", "lo"]
    eth0, lo = found["eth0"], found["lo"]
    assert (eth0.mac.value, eth0.mtu.value, eth0.speed_mbps.value) == ("00:11:22:33:44:55", 4200, 100_000)
    assert (eth0.driver.value, eth0.pci.value, eth0.numa_node.value) == ("mlx5_core", "0000:82:00.0", 1)
    assert (eth0.operstate.value, eth0.addresses.value, eth0.loopback) == ("up", (), False)
    assert (eth0.carrier.value, eth0.dev_port.value, eth0.is_bond) == (True, 1, False)
    assert (lo.loopback, lo.addresses.value, lo.networks.value) == (True, ("127.0.0.1",), ("127.0.0.0/8",))
    assert (lo.speed_mbps.known, lo.pci.known) == (False, False)


def test_the_pci_device_of_an_auxiliary_device_is_its_parent() -> None:
    function = "sys/devices/pci0000:00/0000:00:03.0"
    files = {
        f"{function}/virtio0/x": "",
        f"{function}/numa_node": "1",
        "sys/class/net/eth0/mtu": "1500",
        "sys/class/net/eth0/device": f"-> ../../../{function[4:]}/virtio0",
    }
    eth0 = _memory(files)["eth0"]
    assert (eth0.pci.value, eth0.numa_node.value) == ("0000:00:03.0", 1)
    assert eth0.addresses.reason == "are not in the capture"


def test_a_pci_domain_may_be_longer_than_four_digits() -> None:
    function = "sys/devices/pci10000:00/10000:00:02.0/10000:01:00.0"
    assert _memory(netdev("eth0", function))["eth0"].pci.value == "10000:01:00.0"


def test_a_device_link_that_leads_nowhere_still_names_the_device() -> None:
    found = HostFiles(memory_tree({"sys/class/net/eth0/device": "-> ../../../0000:18:00.0"}))
    assert pci_address(found, "sys/class/net/eth0").value == "0000:18:00.0"


def test_a_device_in_the_tree_needs_no_device_link() -> None:
    files = {key: text for key, text in netdev("eth0", CARD).items() if not key.endswith("/device")}
    assert _memory(files)["eth0"].pci.value == "0000:82:00.0"


def test_an_interface_that_leads_nowhere_is_still_listed() -> None:
    br0 = _memory({"sys/class/net/br0": "-> ../../devices/virtual/net/br0"})["br0"]
    assert (br0.name, br0.mtu.reason) == ("br0", "does not exist")


def test_numa_node_minus_one_is_unknown() -> None:
    assert not _memory({**netdev("eth0", CARD), f"{CARD}/numa_node": "-1\n"})["eth0"].numa_node.known


def test_a_bond_and_its_member() -> None:
    files = {
        **netdev("eth0", CARD, master="-> ../bond0", carrier="0"),
        **netdev("bond0", bonding__mode="802.3ad 4"),
        **netdev("bond1"),
        "proc/net/bonding/bond1": "Ethernet Channel Bonding Driver",
    }
    found = _memory(files)
    assert (found["eth0"].master.value, found["eth0"].is_bond, found["eth0"].carrier.value) == ("bond0", False, False)
    assert (found["bond0"].is_bond, found["bond0"].master.known, found["bond1"].is_bond) == (True, False, True)


@pytest.mark.parametrize(
    ("table", "addresses", "networks"),
    [
        ({"eth0": ["10.0.0.2/24", "fe80::1%eth0/64"]}, ("10.0.0.2", "fe80::1"), ("10.0.0.0/24", "fe80::/64")),
        ({"eth0": ["10.0.0.2", None, 7, "here", "10.0.0.2/99"]}, ("10.0.0.2",), ("10.0.0.2/32",)),
        ({"other": ["10.0.0.2/24"]}, (), ()),
    ],
)
def test_addresses_come_from_the_facts(table: object, addresses: tuple[str, ...], networks: tuple[str, ...]) -> None:
    eth0 = _with_facts({"addresses": table})
    assert (eth0.addresses.value, eth0.networks.value) == (addresses, networks)


@pytest.mark.parametrize("table", [{"eth0": "10.0.0.2/24"}, {"eth0": None}, ["eth0"], 7, None])
def test_facts_of_the_wrong_kind_are_no_addresses(table: object) -> None:
    eth0 = _with_facts({"addresses": table})
    assert (eth0.addresses.known, eth0.networks.known) == (False, False)
    assert eth0.addresses.source == "facts"


@given(st.dictionaries(st.text(), st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=4)))
def test_no_facts_raise(table: dict[str, Any]) -> None:
    assert _with_facts({"addresses": table | {"eth0": list(table.values())}}).name == "eth0"


class _Factual(HostFiles):
    """Files of a capture whose facts a test makes up, of whatever kind."""

    def __init__(self, facts: Mapping[str, Any]) -> None:
        super().__init__(memory_tree(netdev("eth0", CARD)))
        self._given = facts

    def facts(self) -> Mapping[str, Any]:
        return self._given


def _with_facts(facts: Mapping[str, Any]) -> Netdev:
    (eth0,) = probe_netdevs(_Factual(facts))
    return eth0


HEADER = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"


@pytest.mark.parametrize(
    ("file", "line", "through"),
    [
        ("route", "eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0", True),
        ("route", "eth0\t0000A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0", False),
        ("route", "eth0\t00000000\t00000000\t0001\t0\t0\t0\t00000080\t0\t0\t0", False),
        ("route", "eth0\t00000000\t00000000\t0201\t0\t0\t100\t00000000\t0\t0\t0", False),
        ("route", "eth0\t00000000\t0101A8C0\tmany\t0\t0\t100\t00000000\t0\t0\t0", False),
        ("route", "eth0 00000000", False),
        (
            "ipv6_route",
            f"{'0' * 32} 00 {'0' * 32} 00 fe80{'0' * 27}1 00000400 00000001 00000000 00000003     eth0",
            True,
        ),
        ("ipv6_route", f"{'0' * 32} 00 {'0' * 32} 00 {'0' * 32} ffffffff 00000001 00000000 00200200       eth0", False),
        ("ipv6_route", f"fe80{'0' * 28} 40 {'0' * 32} 00 {'0' * 32} 00000100 00000001 00000000 00000001   eth0", False),
    ],
)
def test_a_default_route(file: str, line: str, through: bool) -> None:
    header = HEADER if file == "route" else ""
    files = {**netdev("eth0", CARD), **netdev("eth1"), f"proc/net/{file}": f"{header}{line}\n"}
    found = _memory(files)
    assert (found["eth0"].default_route.value, found["eth1"].default_route.value) == (through, False)


def test_without_a_table_of_routes_nobody_knows_the_default() -> None:
    assert _memory(netdev("eth0"))["eth0"].default_route == Reading(None, "/proc/net/route", "does not exist")


@given(st.text(max_size=80), st.text(max_size=200))
def test_garbage_in_any_file_is_a_reading(value: str, routes: str) -> None:
    names = ("mtu", "speed", "carrier", "type", "dev_port", "dev_id", "address", "operstate")
    files = {f"sys/class/net/eth0/{name}": value for name in names if not value.startswith("-> ")}
    files |= {"proc/net/route": routes + "x", "proc/net/ipv6_route": routes + "x", "sys/class/net/eth0/uevent": ""}
    assert _memory(files)["eth0"].name == "eth0"


class _Hanging(HostFiles):
    """Live files of which those of one interface never answer, as with a driver that lost its device."""

    def __init__(self, root: Path, for_ever: threading.Event) -> None:
        super().__init__(LiveTree(root))
        self._for_ever = for_ever

    def text(self, path: str, *, may_be_empty: bool = False) -> Reading[str]:
        if path.endswith("eth1/speed"):
            self._for_ever.wait()
        return super().text(path, may_be_empty=may_be_empty)


def test_an_interface_that_hangs_hides_no_other(grow: Grow) -> None:
    for_ever = threading.Event()
    root = grow({**netdev("eth0", CARD), **netdev("eth1"), **netdev("eth2", mtu="9000")})
    try:
        eth0, eth1, eth2 = probe_netdevs(_Hanging(root, for_ever))
    finally:
        for_ever.set()
    assert (eth0.mtu.value, eth2.mtu.value, eth0.pci.value) == (1500, 9000, "0000:82:00.0")
    assert (eth1.mtu.value, eth1.default_route.value) == (None, None)
    assert eth1.mtu.reason.startswith("did not answer within")


def test_the_capture_of_an_infiniband_host(capture: Callable[[str], Path]) -> None:
    found = _named(HostFiles(capture("hwloc-sysfs/32em64t-2n8c+dax+nvme+mic+dimms.tar.bz2")))
    assert set(found) == {"br0", "eth0", "eth0.1015", "eth1", "ib0", "lo", "mic0"}
    assert (found["ib0"].pci.value, found["ib0"].numa_node.value) == ("0000:82:00.0", 1)
    assert found["ib0"].driver.value == "mlx4_core"


def test_the_capture_with_a_full_interface(capture: Callable[[str], Path]) -> None:
    found = _named(HostFiles(capture("procfs-sysfs/fixtures.ttar")))
    assert (found["eth0"].mtu.value, found["eth0"].speed_mbps.value) == (1500, 1000)
