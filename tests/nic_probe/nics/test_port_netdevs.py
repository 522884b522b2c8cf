from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.nic_probe.netdev import Netdev, probe_netdevs
from pdpanel.nic_probe.nics.port_netdevs import ROCE_HEADER_BYTES, netdevs_of_port, roce_mtu, roce_mtu_of
from pdpanel.nic_probe.sources.files import HostFiles
from rdma_tree import memory_tree, netdev


def _netdevs(*interfaces: dict[str, str]) -> dict[str, Netdev]:
    files = {key: text for interface in interfaces for key, text in interface.items()}
    return {one.name: one for one in probe_netdevs(HostFiles(memory_tree(files)))}


def test_the_only_port_has_every_interface() -> None:
    assert netdevs_of_port(1, 1, ("eth0", "eth1"), (), None, {}) == ("eth0", "eth1")


@pytest.mark.parametrize("key", ["dev_port", "dev_id"])
def test_two_ports_share_the_interfaces_by_number(key: str) -> None:
    netdevs = _netdevs(netdev("eth0", **{key: "0x0"}), netdev("eth1", **{key: "0x1"}))
    assert [netdevs_of_port(number, 2, ("eth0", "eth1"), (), None, netdevs) for number in (1, 2)] == [
        ("eth0",),
        ("eth1",),
    ]


def test_kernels_that_count_in_dev_id_leave_dev_port_zero() -> None:
    netdevs = _netdevs(netdev("eth0", dev_port="0", dev_id="0x0"), netdev("eth1", dev_port="0", dev_id="0x1"))
    assert netdevs_of_port(2, 2, ("eth0", "eth1"), (), None, netdevs) == ("eth1",)


def test_an_interface_without_a_number_is_found_by_the_gids() -> None:
    netdevs = _netdevs(netdev("eth0"), netdev("eth1"))
    assert netdevs_of_port(1, 2, ("eth0", "eth1"), (), None, netdevs) == ()
    assert netdevs_of_port(2, 2, ("eth0", "eth1"), ("eth1",), None, netdevs) == ("eth1",)


def test_a_pod_whose_interface_is_not_the_hardwares() -> None:
    assert netdevs_of_port(1, 1, (), ("net1", "net1"), None, {}) == ("net1",)


@pytest.mark.parametrize(("own", "of_gids"), [(("eth0",), ()), (("eth0",), ("bond0",)), ((), ("bond0",))])
def test_a_bond_stands_for_its_members(own: tuple[str, ...], of_gids: tuple[str, ...]) -> None:
    netdevs = _netdevs(netdev("eth0", master="-> ../bond0"), netdev("bond0", bonding__mode="802.3ad"))
    assert netdevs_of_port(1, 1, own, of_gids, "bond0", netdevs) == ("bond0",)


def test_a_port_beside_the_bonded_one_keeps_its_interface() -> None:
    netdevs = _netdevs(netdev("eth0", dev_port="0", master="-> ../bond0"), netdev("eth1", dev_port="1"))
    assert netdevs_of_port(2, 2, ("eth0", "eth1"), (), "bond0", netdevs) == ("eth1",)


@pytest.mark.parametrize(
    ("interface", "mtu"),
    [(1500, 1024), (4192, 4096), (4191, 2048), (4200, 4096), (9000, 4096), (2144, 2048), (352, 256), (351, None)],
)
def test_the_kernels_rule_for_the_mtu(interface: int, mtu: int | None) -> None:
    assert roce_mtu(interface) == mtu


@given(st.integers(-(2**40), 2**40))
def test_the_mtu_always_fits(interface: int) -> None:
    mtu = roce_mtu(interface)
    assert mtu is None or mtu + ROCE_HEADER_BYTES <= interface
    assert (mtu is None) == (interface < 256 + ROCE_HEADER_BYTES)


def test_the_mtu_names_its_source() -> None:
    mtu = roce_mtu_of("Ethernet", "CA", ("eth0",), _netdevs(netdev("eth0", mtu="9000")))
    assert (mtu.value, mtu.source) == (4096, "/sys/class/net/eth0/mtu less 96 bytes of headers")


def test_the_first_interface_with_an_mtu_counts() -> None:
    netdevs = _netdevs(netdev("eth0", mtu="many"), netdev("eth1"))
    assert roce_mtu_of("Ethernet", "CA", ("gone", "eth0", "eth1"), netdevs).value == 1024


@pytest.mark.parametrize(
    ("link_layer", "node_type", "names", "reason"),
    [
        ("InfiniBand", "CA", ("eth0",), "is told by verbs alone, and not derived without RoCE"),
        ("Unknown", "unspecified", ("eth0",), "is told by verbs alone, and not derived without RoCE"),
        (None, None, ("eth0",), "is told by verbs alone, and not derived without RoCE"),
        ("Ethernet", "RNIC", ("eth0",), "iWARP has no path MTU"),
        ("Ethernet", "CA", (), "has no interface in this network namespace to derive it from"),
        ("Ethernet", "CA", ("small",), "reads '300', which is not large enough for RoCE: 96 bytes are headers"),
    ],
)
def test_an_mtu_that_cannot_be_derived_says_why(
    link_layer: str | None, node_type: str | None, names: tuple[str, ...], reason: str
) -> None:
    mtu = roce_mtu_of(link_layer, node_type, names, _netdevs(netdev("eth0"), netdev("small", mtu="300")))
    assert (mtu.value, mtu.reason) == (None, reason)
