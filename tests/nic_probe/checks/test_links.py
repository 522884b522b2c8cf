"""RDMA ports, from values that a test makes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from check_case import Case, found, make_netdev, make_view, roce_nic
from pdpanel.nic_probe.checks.view import HostView
from pdpanel.nic_probe.finding import Severity
from pdpanel.nic_probe.nics.device import PortCounters
from simulated_host import read

_DOWN = {"state": read("DOWN"), "physical_state": read("Polling"), "rate_gbps": read(2.5)}
_IB = {"link_layer": read("InfiniBand"), "sm_lid": read(1), "netdevs": ()}


def _second(**port: object) -> HostView:
    return make_view(nics=(roce_nic(0), roce_nic(1, port=port)))


def _mtu(*mtus: int) -> HostView:
    return make_view(netdevs=tuple(make_netdev(f"eth{n}", mtu=read(mtu)) for n, mtu in enumerate(mtus, 1)))


def _counted(**others: int) -> HostView:
    return _second(counters=PortCounters(read(1), read(1), "port counters", others))


CASES = (
    Case("port-down", Severity.WARNING, lambda: _second(**_DOWN), make_view, "cable"),
    Case(
        "link-degraded",
        Severity.WARNING,
        lambda: _second(rate=read("200 Gb/sec (2X NDR)"), rate_gbps=read(200.0)),
        make_view,
        "400 Gb/s",
    ),
    Case("link-layers-mixed", Severity.WARNING, lambda: _second(**_IB), make_view, "MC_TE_FILTERS=mlx5_"),
    Case(
        "subnet-manager-missing",
        Severity.WARNING,
        lambda: _second(**{**_IB, "state": read("INIT"), "sm_lid": read(0)}),
        lambda: _second(**_IB),
        "opensm",
    ),
    Case("rdma-mtu", Severity.WARNING, lambda: _mtu(9000, 1500), lambda: _mtu(9000, 4200), "ip link set eth2 mtu 9000"),
    Case(
        "rdma-errors",
        Severity.INFO,
        lambda: _counted(out_of_sequence=12, symbol_error=1),
        lambda: _counted(rx_write_requests=12, symbol_error=0),
        "PFC",
    ),
    Case(
        "firmware-differs",
        Severity.WARNING,
        lambda: make_view(nics=(roce_nic(0), roce_nic(1, firmware=read("28.36.1000")))),
        lambda: make_view(nics=(roce_nic(0), roce_nic(1, firmware=read("20.1"), board=read("MT_1")))),
        "mlxfwmanager",
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_check_finds_it_and_keeps_silent_otherwise(case: Case) -> None:
    case.verify()


def test_a_second_port_without_a_cable_is_worth_a_word() -> None:
    nic = roce_nic(1)
    empty = replace(nic.ports[0], number=2, **_DOWN)
    (finding,) = found("port-down", make_view(nics=(roce_nic(0), replace(nic, ports=(*nic.ports, empty)))))
    assert (finding.severity, finding.subject) == (Severity.INFO, "mlx5_1 port 2")


def test_ports_of_another_kind_may_be_left_without_a_cable() -> None:
    (finding,) = found("port-down", make_view(nics=(roce_nic(0), roce_nic(1, board=read("MT_9"), port=_DOWN))))
    assert finding.severity is Severity.INFO


def test_where_no_port_is_up_another_check_has_said_it() -> None:
    assert found("port-down", make_view(nics=(roce_nic(0, port=_DOWN), roce_nic(1, port=_DOWN)))) == []


def test_one_lane_is_a_fault_on_infiniband_alone() -> None:
    """Ethernet of 25 Gb/s is one lane of EDR by design."""
    one_lane = {"rate": read("25 Gb/sec (1X EDR)"), "rate_gbps": read(25.0)}
    assert found("link-degraded", make_view(nics=(roce_nic(0, port=one_lane), roce_nic(1, port=one_lane)))) == []
    infiniband = {**_IB, **one_lane}
    findings = found("link-degraded", make_view(nics=(roce_nic(0, port=infiniband), roce_nic(1, port=infiniband))))
    assert [finding.severity for finding in findings] == [Severity.WARNING] * 2
    assert "single lane" in findings[0].reason


def test_an_uplink_may_be_slower_than_its_kind() -> None:
    view = _second(rate=read("25 Gb/sec (1X EDR)"), rate_gbps=read(25.0))
    netdevs = tuple(replace(netdev, default_route=read(netdev.name == "eth2")) for netdev in view.host.netdevs)
    (finding,) = found("link-degraded", HostView(replace(view.host, netdevs=netdevs), view.topology))
    assert finding.severity is Severity.INFO


def test_equal_and_small_mtus_cost_speed_alone() -> None:
    (finding,) = found("rdma-mtu", _mtu(1500, 1400))
    assert (finding.severity, finding.corrected) == (Severity.INFO, "9000")
    assert "1024 bytes" in finding.reason


def test_an_active_port_without_a_subnet_manager() -> None:
    assert found("subnet-manager-missing", _second(**{**_IB, "sm_lid": read(0)}))
    assert found("subnet-manager-missing", _second(sm_lid=read(0))) == []  # RoCE has none.


def test_many_errors_of_the_wire_are_a_warning() -> None:
    (finding,) = found("rdma-errors", _counted(symbol_error=1 << 20, out_of_sequence=3))
    assert finding.severity is Severity.WARNING
    assert finding.evidence[0].value == "symbol_error 1048576, out_of_sequence 3"
