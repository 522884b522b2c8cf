"""TCP ports, from values that a test makes."""

from __future__ import annotations

from typing import Any

import pytest
from check_case import Case, found, make_netdev, make_state, make_view
from pdpanel.nic_probe.checks.ports import mooncake_ports
from pdpanel.nic_probe.checks.view import HostView
from pdpanel.nic_probe.finding import Severity
from pdpanel.nic_probe.state.sockets import Listener
from simulated_host import read, unread


def _listening(*listeners: tuple[str, int], environ: dict[str, str] | None = None) -> HostView:
    taken = read(tuple(Listener(address, port) for address, port in listeners))
    return make_view(state=make_state(environ, network={"listeners": taken}))


def _range(low: int, high: int, environ: dict[str, str] | None = None, **network: Any) -> HostView:
    return make_view(state=make_state(environ, network={"ephemeral_ports": read((low, high)), **network}))


def _window(first: str, last: str) -> HostView:
    return make_view(state=make_state({"MC_MIN_RPC_PORT": first, "MC_MAX_RPC_PORT": last}))


CASES = (
    Case(
        "ports-in-use",
        Severity.INFO,
        lambda: _listening(("0.0.0.0", 8998), ("127.0.0.1", 30000)),
        lambda: _listening(("0.0.0.0", 22)),
        "ss -ltnp",
    ),
    Case(
        "ports-ephemeral",
        Severity.WARNING,
        lambda: _range(10000, 65000),
        lambda: _range(32768, 60999),
        "ip_local_reserved_ports=15000-17000,12001,29000,30000,30001",
    ),
    Case(
        "mooncake-port-window",
        Severity.WARNING,
        lambda: _window("17000", "15000"),
        lambda: _window("20000", "21000"),
        "MC_MIN_RPC_PORT=15000",
    ),
    Case(
        "time-wait-many",
        Severity.WARNING,
        lambda: make_view(state=make_state(network={"time_wait": read(20000)})),
        make_view,
        "MC_TCP_ENABLE_CONNECTION_POOL=1",
    ),
    Case(
        "etcd-loopback",
        Severity.WARNING,
        lambda: _listening(("127.0.0.1", 2379)),
        lambda: _listening(("127.0.0.1", 2379), ("10.0.0.2", 2379)),
        "--listen-client-urls http://0.0.0.0:2379",
    ),
    Case(
        "mooncake-listens-everywhere",
        Severity.WARNING,
        make_view,
        lambda: make_view(netdevs=()),
        "firewall",
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_check_finds_it_and_keeps_silent_otherwise(case: Case) -> None:
    case.verify()


def test_reserved_ports_are_not_given_away() -> None:
    reserved = ((15000, 17000), (12001, 12001), (29000, 30001))
    assert found("ports-ephemeral", _range(10000, 65000, reserved_ports=read(reserved))) == []


def test_the_window_that_the_environment_names_is_the_one_that_counts() -> None:
    (finding,) = found(
        "ports-ephemeral", _range(32768, 60999, {"MC_MIN_RPC_PORT": "40000", "MC_MAX_RPC_PORT": "41000"})
    )
    assert finding.corrected == "40000-41000"


def test_the_old_spelling_is_still_read() -> None:
    assert mooncake_ports(make_view(state=make_state({"MC_MIN_PRC_PORT": "16000"}))) == (16000, 17000)
    assert mooncake_ports(make_view()) == (15000, 17000)


@pytest.mark.parametrize("value", ["0", "x", "70000", "٣٠٠٠"])
def test_what_is_no_port_makes_no_window(value: str) -> None:
    (finding,) = found("mooncake-port-window", _window(value, "17000"))
    assert finding.corrected == "15000-17000"


def test_a_window_that_is_full() -> None:
    taken = [("0.0.0.0", port) for port in range(20000, 20010)]
    view = _listening(*taken, environ={"MC_MIN_RPC_PORT": "20000", "MC_MAX_RPC_PORT": "20010"})
    (finding,) = found("mooncake-port-window", view)
    assert finding.severity is Severity.WARNING
    assert "has 1 left" in finding.reason


def test_a_laptop_is_told_of_ports_by_the_way() -> None:
    state = _range(10000, 65000).state
    (finding,) = found("ports-ephemeral", make_view(gpus=(), nics=(), state=state))
    assert finding.severity is Severity.INFO


def test_loopback_alone_is_worth_a_word_and_no_warning() -> None:
    (finding,) = found("mooncake-listens-everywhere", make_view(netdevs=(make_netdev("lo", "127.0.0.1/8", "::1/128"),)))
    assert finding.severity is Severity.INFO


def test_an_address_beside_loopback_is_a_warning_with_that_address() -> None:
    netdevs = (make_netdev("lo", "127.0.0.1/8", "::1/128"), make_netdev("eth0", "192.0.2.7/24"))
    (finding,) = found("mooncake-listens-everywhere", make_view(netdevs=netdevs))
    assert [(evidence.source, evidence.value) for evidence in finding.evidence] == [("eth0", "192.0.2.7")]


def test_addresses_that_are_not_known_are_left_to_the_check_of_the_source() -> None:
    view = make_view(netdevs=(make_netdev("eth0", addresses=unread()),))
    assert found("mooncake-listens-everywhere", view) == []
