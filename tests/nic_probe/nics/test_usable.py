from __future__ import annotations

from typing import Any

import pytest
from pdpanel.nic_probe.nics.device import Gid, RdmaDevice, RdmaPort
from pdpanel.nic_probe.nics.gids import ranked
from pdpanel.nic_probe.nics.usable import judged_device, judged_port
from pdpanel.nic_probe.nics.verbs import VerbsDevice
from pdpanel.nic_probe.nics.verbs_node import VerbsNode
from simulated_host import make_nic, make_port, read, unread

INFINIBAND: dict[str, Any] = {"link_layer": read("InfiniBand"), "lid": read(0x3A4), "sm_lid": read(1), "netdevs": ()}
OPEN = VerbsNode(read("/dev/infiniband/uverbs0"), True)
CLOSED = VerbsNode(unread("gives this user no permission to write it"), False, "let the user write it")
UNASKED = VerbsNode(unread("the capture does not say whether it can be opened"), None)


def _port(node_type: str | None = "CA", *, virtual: bool = False, **changes: Any) -> RdmaPort:
    return judged_port(make_port(usable=None, **changes), node_type, virtual=virtual)


def _gids(*entries: tuple[str, str | None, str | None]) -> tuple[Gid, ...]:
    return ranked(
        (
            Gid(index, address, unread() if kind is None else read(kind), unread() if name is None else read(name))
            for index, (address, kind, name) in enumerate(entries)
        ),
        "Ethernet",
    )


def test_a_healthy_roce_port() -> None:
    port = _port()
    assert (port.usable, port.why_not, port.doubts) == (True, "", ())


def test_a_healthy_infiniband_port_needs_no_interface() -> None:
    gids = ranked([Gid(0, "fe80::1", read("IB/RoCE v1"), unread())], "InfiniBand")
    port = _port(gids=gids, **INFINIBAND)
    assert (port.usable, port.why_not, port.doubts) == (True, "", ())


def test_a_link_layer_that_reads_unknown_is_no_fault() -> None:
    gids = ranked([Gid(0, "fe80::1", read("IB/RoCE v1"), unread())], "Unknown")
    port = _port("unspecified", link_layer=read("Unknown"), gids=gids, netdevs=(), sm_lid=read(0))
    assert (port.usable, port.why_not, port.doubts) == (True, "", ())


@pytest.mark.parametrize(
    ("changes", "why_not"),
    [
        (
            {"state": read("DOWN"), "physical_state": read("Polling")},
            "The port is DOWN (Polling): no cable is plugged in, or the other end is off.",
        ),
        (
            {"state": read("DOWN"), "physical_state": read("Disabled")},
            "The port is DOWN (Disabled): enable it, and bring its interface up.",
        ),
        (
            {"state": read("DOWN"), "physical_state": read("LinkUp")},
            "The port is DOWN (LinkUp): bring its interface eth1 up.",
        ),
        (
            {"state": read("DOWN"), "physical_state": unread(), "netdevs": ()},
            "The port is DOWN: bring its interface up.",
        ),
        (
            {"state": read("DOWN"), "physical_state": unread(), **INFINIBAND},
            "The port is DOWN: look at the cable and at the other end.",
        ),
        (
            {"state": read("INIT"), **INFINIBAND, "lid": read(0)},
            "The port is INIT (LinkUp): no subnet manager serves its fabric; start one (opensm), or connect it to a "
            "managed switch.",
        ),
        (
            {**INFINIBAND, "lid": read(0), "sm_lid": read(0)},
            "It has no LID: no subnet manager serves its fabric; start one (opensm), or connect it to a "
            "managed switch.",
        ),
        (
            {**INFINIBAND, "sm_lid": read(0)},
            "Its sm_lid is 0: no subnet manager serves its fabric; start one (opensm), or connect it to a "
            "managed switch.",
        ),
        (
            {"gids": ()},
            "Its GID table is empty, since no network interface in this network namespace belongs to it: move the "
            "interface in, or use the host's network (--network=host, hostNetwork: true).",
        ),
        ({"gids": (), **INFINIBAND}, "Its GID table is empty: reset the device, or load its driver again."),
        ({"gids": (), "gid_table_length": read(0), "link_layer": unread()}, None),
        ({"state": read("ACTIVE_DEFER")}, "The port is ACTIVE_DEFER (LinkUp): bring its interface eth1 up."),
    ],
)
def test_a_port_that_carries_nothing(changes: dict[str, Any], why_not: str | None) -> None:
    port = _port(**changes)
    assert port.usable is False
    assert port.why_not == why_not or (why_not is None and "is empty" in port.why_not)
    assert port.doubts == ()


def test_a_virtual_function_may_be_down_while_its_physical_function_is_up() -> None:
    down: dict[str, Any] = {"state": read("DOWN"), "physical_state": read("Disabled")}
    assert "on its physical function" in _port(virtual=True, **down).why_not
    assert "physical function" not in _port(virtual=False, **down).why_not


@pytest.mark.parametrize(
    ("changes", "why_not"),
    [
        ({"state": unread("does not exist")}, "Its state is not known: test does not exist."),
        ({"gids": (), "gid_table_length": unread("is gone")}, "Its GID table is not known: test is gone."),
    ],
)
def test_what_cannot_be_read_is_not_known(changes: dict[str, Any], why_not: str) -> None:
    port = _port(**changes)
    assert (port.usable, port.why_not) == (None, why_not)


@pytest.mark.parametrize(
    ("gids", "doubt"),
    [
        (_gids(("8.8.8.8", "IB/RoCE v1", "eth0")), "No GID is of RoCE v2; Mooncake takes index 0 as its last resort."),
        (
            _gids(("8.8.8.8", None, "eth0")),
            "No GID has a known type (the test does not say); Mooncake takes index 0 as its last resort.",
        ),
        (
            _gids(("fe80::1", "RoCE v2", "eth0")),
            "Its GIDs are link-local or of an overlay: give its interface an IP address.",
        ),
        (
            _gids(("8.8.8.8", "RoCE v2", None)),
            "No GID has an interface in this network namespace; Mooncake takes one all the same.",
        ),
    ],
)
def test_a_port_that_is_usable_with_a_doubt(gids: tuple[Gid, ...], doubt: str) -> None:
    port = _port(gids=gids)
    assert (port.usable, port.why_not, port.doubts) == (True, "", (doubt,))


def test_an_address_beside_the_worse_ones_leaves_no_doubt() -> None:
    gids = _gids(("fe80::1", "IB/RoCE v1", None), ("fe80::1", "RoCE v2", "eth0"), ("10.0.0.1", "RoCE v2", "eth0"))
    assert _port(gids=gids).doubts == ()


def test_iwarp_is_a_doubt_of_its_own() -> None:
    (doubt,) = _port("RNIC", gids=_gids(("8.8.8.8", "IB/RoCE v1", None))).doubts
    assert doubt.startswith("It speaks iWARP")


def _device(*ports: RdmaPort) -> RdmaDevice:
    return make_nic("x", ports=ports, usable=None)


@pytest.mark.parametrize(
    ("node", "verbs", "live", "usable", "why_not"),
    [
        (OPEN, None, True, True, ""),
        (OPEN, VerbsDevice(True, ""), True, True, ""),
        (UNASKED, None, False, True, ""),
        (UNASKED, None, True, None, "test the capture does not say whether it can be opened."),
        (CLOSED, None, False, False, "test gives this user no permission to write it: let the user write it."),
        (
            OPEN,
            VerbsDevice(True, "Failed to open device."),
            True,
            False,
            "libibverbs cannot open it: Failed to open device.",
        ),
        (
            OPEN,
            VerbsDevice(False, ""),
            True,
            False,
            "libibverbs does not know it: install its user library (ibverbs-providers, rdma-core).",
        ),
    ],
)
def test_a_device_with_a_usable_port(
    node: VerbsNode, verbs: VerbsDevice | None, live: bool, usable: bool | None, why_not: str
) -> None:
    device = judged_device(_device(_port()), node, verbs, live=live)
    assert (device.usable, device.why_not) == (usable, why_not)


def test_the_node_comes_before_the_ports() -> None:
    down = _port(state=read("DOWN"))
    assert "permission" in judged_device(_device(down), CLOSED, None, live=True).why_not
    assert "DOWN" in judged_device(_device(down), OPEN, None, live=True).why_not


def test_one_usable_port_of_two_is_enough() -> None:
    device = judged_device(_device(_port(state=read("DOWN")), _port(number=2)), OPEN, None, live=True)
    assert (device.usable, device.why_not) == (True, "")


def test_of_two_ports_each_says_why() -> None:
    down: dict[str, Any] = {"state": read("DOWN"), "physical_state": read("Polling")}
    device = judged_device(_device(_port(**down), _port(number=2, gids=())), OPEN, None, live=True)
    assert device.usable is False
    assert device.why_not.startswith("Port 1: The port is DOWN (Polling): ")
    assert " Port 2: Its GID table is empty" in device.why_not


def test_a_port_that_is_not_known_leaves_the_device_not_known() -> None:
    device = judged_device(_device(_port(state=read("DOWN")), _port(number=2, state=unread())), OPEN, None, live=True)
    assert device.usable is None


@pytest.mark.parametrize(("live", "usable"), [(True, False), (False, None)])
def test_a_device_without_ports(live: bool, usable: bool | None) -> None:
    device = judged_device(_device(), OPEN, None, live=live)
    assert device.usable is usable
    assert "port" in device.why_not
