"""The IP network around workers, from values that a test makes."""

from __future__ import annotations

from typing import Any

import pytest
from check_case import Case, found, make_netdev, make_state, make_view, roce_nic
from pdpanel.nic_probe.checks.view import HostView
from pdpanel.nic_probe.finding import Severity
from pdpanel.nic_probe.netdev import Netdev
from pdpanel.nic_probe.state.network import ArpRules
from simulated_host import read, unread

_LO = make_netdev("lo", "127.0.0.1/8")
_ONE_SUBNET = (make_netdev("eth1", "10.1.0.1/24"), make_netdev("eth2", "10.1.0.2/24"))


def _arp(rp_filter: int, ignore: int = 1, announce: int = 2, **host: Any) -> HostView:
    rules = dict.fromkeys(("eth1", "eth2"), ArpRules(read(rp_filter), read(ignore), read(announce)))
    return make_view(state=make_state(network={"arp": rules}), **{"netdevs": _ONE_SUBNET, **host})


def _resolves(*addresses: str, **host: Any) -> HostView:
    return make_view(state=make_state(network={"hostname_addresses": read(addresses)}), **host)


def _netdevs(*netdevs: Netdev, environ: dict[str, str] | None = None) -> HostView:
    return make_view(netdevs=netdevs, state=make_state(environ))


CASES = (
    Case(
        "netdev-not-ready",
        Severity.WARNING,
        lambda: _netdevs(_LO, make_netdev("eth1", "fe80::1/64"), make_netdev("eth2", "10.0.0.1/24")),
        make_view,
        "ip link set eth1 up",
    ),
    Case("nics-in-one-subnet", Severity.WARNING, lambda: _arp(1), lambda: _arp(2), "eth1.rp_filter=2"),
    Case(
        "duplicate-address",
        Severity.WARNING,
        lambda: _netdevs(make_netdev("eth1", "10.0.0.1/24"), make_netdev("eth2", "10.0.0.1/24")),
        lambda: _netdevs(make_netdev("eth1", "fe80::1/64"), make_netdev("eth2", "fe80::1/64")),
        "dev eth2",
    ),
    Case(
        "hostname-loopback",
        Severity.WARNING,
        lambda: _resolves("127.0.1.1"),
        lambda: _resolves("127.0.1.1", "192.168.0.1"),
        "VLLM_HOST_IP=192.168.0.1",
    ),
    Case(
        "addresses-several",
        Severity.INFO,
        lambda: _netdevs(_LO, make_netdev("docker0", "172.17.0.1/16"), make_netdev("eth0", "10.0.0.2/24")),
        lambda: _netdevs(_LO, make_netdev("eth0", "10.0.0.2/24", "fe80::1/64")),
        "--host 10.0.0.2",
    ),
    Case(
        "address-not-here",
        Severity.ERROR,
        lambda: make_view(state=make_state({"VLLM_HOST_IP": "10.9.9.9"})),
        lambda: make_view(state=make_state({"VLLM_HOST_IP": "192.168.1.1", "MC_TCP_BIND_ADDRESS": "node-1"})),
        "VLLM_HOST_IP=192.168.0.1",
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_check_finds_it_and_keeps_silent_otherwise(case: Case) -> None:
    case.verify()


def test_an_interface_that_is_down_below_an_active_port() -> None:
    (finding,) = found("netdev-not-ready", _netdevs(make_netdev("eth2", "10.0.0.1/24", operstate=read("down"))))
    assert finding.subject == "eth2 (mlx5_1)"
    assert "is down" in finding.reason


def test_members_of_bonds_and_carriers_of_vlans_need_no_address() -> None:
    view = _netdevs(
        make_netdev("eth1", master=read("bond0")), make_netdev("eth2"), make_netdev("eth2.100", "10.0.0.1/24")
    )
    assert found("netdev-not-ready", view) == []


def test_infiniband_needs_no_address() -> None:
    nic = roce_nic(0, port={"link_layer": read("InfiniBand")})
    assert found("netdev-not-ready", make_view(nics=(nic,), netdevs=(make_netdev("eth1"),))) == []


def test_arp_rules_alone_are_a_reason() -> None:
    (finding,) = found("nics-in-one-subnet", _arp(0, ignore=0, announce=0))
    assert "arp_ignore=1 net.ipv4.conf.all.arp_announce=2" in finding.remedy
    assert "rp_filter" not in finding.remedy


def test_subnets_of_their_own_need_no_rules() -> None:
    apart = (make_netdev("eth1", "10.1.0.1/24"), make_netdev("eth2", "10.2.0.1/24"))
    assert found("nics-in-one-subnet", _arp(1, netdevs=apart)) == []
    hosts = (make_netdev("eth1", "10.1.0.1/32"), make_netdev("eth2", "10.1.0.1/32"))
    assert found("nics-in-one-subnet", _arp(1, netdevs=hosts)) == []


def test_a_name_that_resolves_to_nothing_and_a_host_that_nobody_reaches() -> None:
    (finding,) = found("hostname-loopback", _resolves())
    assert finding.evidence[0].value == "resolves to nothing"
    (finding,) = found("hostname-loopback", _resolves("127.0.0.1", nics=(), netdevs=(_LO,)))
    assert (finding.severity, finding.corrected) == (Severity.INFO, None)


def test_a_name_that_nobody_looked_up_is_not_judged() -> None:
    assert found("hostname-loopback", make_view(state=make_state(network={"hostname_addresses": unread()}))) == []


def test_the_bridge_of_containers_is_named_as_out_of_reach() -> None:
    (finding,) = found(
        "addresses-several", _netdevs(make_netdev("docker0", "172.17.0.1/16"), make_netdev("eth0", "10.0.0.2/24"))
    )
    assert "docker0, which no other host reaches" in finding.reason


def test_the_address_of_the_default_route_is_the_likely_one() -> None:
    netdevs = (make_netdev("a1", "10.1.0.1/24"), make_netdev("z1", "10.2.0.1/24", default_route=read(True)))
    (finding,) = found("addresses-several", _netdevs(*netdevs))
    assert finding.corrected == "10.2.0.1"
    assert found("addresses-several", _netdevs(*netdevs, environ={"VLLM_HOST_IP": "10.1.0.1"})) == []


def test_the_wildcard_is_no_address_to_tell_a_peer() -> None:
    (finding,) = found("address-not-here", make_view(state=make_state({"MC_TCP_BIND_ADDRESS": "0.0.0.0"})))
    assert finding.severity is Severity.WARNING


def test_addresses_that_are_not_known_deny_none() -> None:
    view = _netdevs(make_netdev("eth1", addresses=unread()), environ={"VLLM_HOST_IP": "10.9.9.9"})
    assert found("address-not-here", view) == []


@pytest.mark.parametrize(
    ("value", "wrong"), [("ens", True), ("eth", False), ("=eth", True), ("^lo", False), ("=eth1", False)]
)
def test_names_of_interfaces_as_nccl_reads_them(value: str, wrong: bool) -> None:
    view = make_view(state=make_state({"NCCL_SOCKET_IFNAME": value}))
    assert bool(found("address-not-here", view)) is wrong
