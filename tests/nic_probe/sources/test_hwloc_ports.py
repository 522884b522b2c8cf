from __future__ import annotations

import pytest
from pdpanel.nic_probe.sources.hwloc_ports import hwloc_ports


def test_each_port_has_its_state_lid_and_gids() -> None:
    first, second = hwloc_ports(
        {
            "NodeGUID": "0002:c903:00f9:bfa0",
            "Port2State": "1",
            "Port1State": "4",
            "Port1LID": "0x3a4",
            "Port1LMC": "0",
            "Port1GID10": "0000:0000:0000:0000:0000:ffff:c0a8:0105",
            "Port1GID2": "fe80:0000:0000:0000:0002:c903:00f9:bfa1",
        },
        {"ib0": "1", "ib1": "2"},
        "file.xml",
    )
    assert (first.number, first.state.value, first.lid.value, first.netdevs) == (1, "ACTIVE", 0x3A4, ("ib0",))
    assert first.link_layer.value == "InfiniBand"
    assert [(gid.index, gid.address) for gid in first.gids] == [(2, "fe80::2:c903:f9:bfa1"), (10, "192.168.1.5")]
    assert (second.number, second.state.value, second.netdevs) == (2, "DOWN", ("ib1",))
    assert not second.link_layer.known
    assert (first.usable, first.why_not) == (None, "the topology file does not say")


def test_an_interface_without_a_number_belongs_to_the_only_port() -> None:
    (port,) = hwloc_ports({"Port1State": "4", "Port1LID": "0x0"}, {"eth0": ""}, "file.xml")
    assert port.netdevs == ("eth0",)
    assert not port.link_layer.known
    assert hwloc_ports({"Port1State": "4", "Port2State": "4"}, {"eth0": ""}, "file.xml")[0].netdevs == ()


@pytest.mark.parametrize("infos", [{}, {"PortState": "4"}, {"Port1Speed": "4"}, {"Port1111State": "4"}])
def test_other_attributes_make_no_port(infos: dict[str, str]) -> None:
    assert hwloc_ports(infos, {}, "file.xml") == []


def test_what_makes_no_sense_is_unreadable() -> None:
    (port,) = hwloc_ports({"Port1State": "9", "Port1LID": "none", "Port1GID0": "x"}, {}, "file.xml")
    assert (port.state.known, port.lid.known, port.gids) == (False, False, ())
