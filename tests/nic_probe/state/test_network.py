"""Port ranges and rules of interfaces, from files as the kernel writes them."""

from __future__ import annotations

import pytest
from pdpanel.nic_probe.sources.files import HostFiles
from pdpanel.nic_probe.sources.memory import Link, MemoryTree
from pdpanel.nic_probe.state.facts import Facts
from pdpanel.nic_probe.state.network import NetworkState, probe_network

_CONF = "proc/sys/net/ipv4/conf"


def _probe(files: dict[str, str], **facts: object) -> NetworkState:
    planted = {path: Link(text[3:]) if text.startswith("-> ") else text.encode() for path, text in files.items()}
    return probe_network(HostFiles(MemoryTree(planted)), Facts(facts))


def test_ranges_of_ports() -> None:
    folder = "proc/sys/net/ipv4"
    network = _probe(
        {f"{folder}/ip_local_port_range": "32768\t60999\n", f"{folder}/ip_local_reserved_ports": "8998,15000-17000\n"}
    )
    assert network.ephemeral_ports.value == (32768, 60999)
    assert network.reserved_ports.value == ((8998, 8998), (15000, 17000))
    assert _probe({f"{folder}/ip_local_reserved_ports": "\n"}).reserved_ports.value == ()


@pytest.mark.parametrize("text", ["60999 32768", "1", "a b", "0 5", "1 70000", "1 2 3"])
def test_what_is_no_range_has_a_reason(text: str) -> None:
    assert "two ports" in _probe({"proc/sys/net/ipv4/ip_local_port_range": text}).ephemeral_ports.reason


def test_the_larger_rule_counts_and_virtual_interfaces_do_not() -> None:
    names = {"eth0": "pci0000:00/0000:00:01.0/net", "veth1": "virtual/net", "bond0": "virtual/net"}
    files = {f"sys/class/net/{name}": f"-> ../../devices/{place}/{name}" for name, place in names.items()}
    files |= {f"sys/devices/{place}/{name}/mtu": "1500" for name, place in names.items()}
    files["sys/devices/virtual/net/bond0/bonding/mode"] = "802.3ad 4"
    rules = {"all": "1", "eth0": "0", "bond0": "2", "veth1": "1"}
    files |= {f"{_CONF}/{name}/rp_filter": text for name, text in rules.items()}
    files |= {f"{_CONF}/eth0/arp_ignore": "1"}
    arp = _probe(files).arp
    assert {name: entry.rp_filter.value for name, entry in arp.items()} == {"bond0": 2, "eth0": 1}
    assert arp["eth0"].arp_ignore.value == 1
    assert arp["eth0"].arp_announce.value is None


def test_what_the_hosts_name_resolves_to() -> None:
    assert _probe({}, hostname_addresses=["10.0.0.2", 7]).hostname_addresses.value == ("10.0.0.2",)
    assert _probe({}).hostname_addresses.value is None
