from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from pdpanel.nic_probe import Host, Reading, Severity, check_host, probe_host
from pdpanel.nic_probe.checks import ibverbs_missing, mooncake_listens_everywhere, rdma_none

Grow = Callable[[Mapping[str, str]], Path]


@pytest.fixture
def host(grow: Grow) -> Host:
    """A live host with a loopback and one card."""
    captured = probe_host(grow({"sys/class/net/lo/mtu": "1", "sys/class/net/eth0/mtu": "1"}))
    return dataclasses.replace(captured, live=True, ibverbs=Reading("libibverbs.so.1", "loader"))


def _with_addresses(host: Host, addresses: Mapping[str, tuple[str, ...]]) -> Host:
    netdevs = tuple(
        dataclasses.replace(netdev, addresses=Reading(addresses[netdev.name], "psutil")) for netdev in host.netdevs
    )
    return dataclasses.replace(host, netdevs=netdevs)


def test_an_address_beside_loopback_is_a_warning_with_that_address(host: Host) -> None:
    found = mooncake_listens_everywhere(_with_addresses(host, {"lo": ("127.0.0.1", "::1"), "eth0": ("192.0.2.7",)}))
    (finding,) = found
    assert finding.severity is Severity.WARNING
    assert [(evidence.source, evidence.value) for evidence in finding.evidence] == [("eth0", "192.0.2.7")]
    assert "firewall" in finding.remedy


def test_loopback_alone_is_worth_a_word_and_no_warning(host: Host) -> None:
    (finding,) = mooncake_listens_everywhere(_with_addresses(host, {"lo": ("127.0.0.1",), "eth0": ()}))
    assert finding.severity is Severity.INFO


def test_unknown_addresses_are_no_all_clear(host: Host) -> None:
    (finding,) = mooncake_listens_everywhere(host)
    assert finding.severity is Severity.UNKNOWN
    (finding,) = mooncake_listens_everywhere(dataclasses.replace(host, netdevs=()))
    assert finding.severity is Severity.UNKNOWN


def test_a_missing_library_is_a_warning_with_the_loaders_words(host: Host) -> None:
    assert ibverbs_missing(host) == []
    unloadable = Reading[str].unreadable("loader", "libibverbs.so.1: cannot open shared object file")
    (finding,) = ibverbs_missing(dataclasses.replace(host, ibverbs=unloadable))
    assert finding.severity is Severity.WARNING
    assert finding.evidence[0].value == "libibverbs.so.1: cannot open shared object file"
    assert "libibverbs1" in finding.remedy


def test_a_capture_cannot_say_whether_the_library_is_there(grow: Grow) -> None:
    (finding,) = ibverbs_missing(probe_host(grow({})))
    assert finding.severity is Severity.UNKNOWN


def test_no_rdma_device(host: Host) -> None:
    (finding,) = rdma_none(host)
    assert (finding.severity, finding.evidence[0].value) == (Severity.INFO, "lists no device")


def test_a_port_that_is_down_is_named(grow: Grow) -> None:
    (finding,) = rdma_none(probe_host(grow({"sys/class/infiniband/mlx5_0/ports/1/state": "1: DOWN\n"})))
    (evidence,) = finding.evidence
    assert (evidence.source, evidence.value) == ("/sys/class/infiniband/mlx5_0/ports/1/state", "DOWN")
    assert "ACTIVE" in finding.reason


def test_an_active_port_is_no_finding(grow: Grow) -> None:
    assert rdma_none(probe_host(grow({"sys/class/infiniband/mlx5_0/ports/1/state": "4: ACTIVE\n"}))) == []


def test_a_device_without_ports_is_evidence_too(grow: Grow) -> None:
    (finding,) = rdma_none(probe_host(grow({"sys/class/infiniband/mlx5_0/fw_ver": "1\n"})))
    assert finding.evidence[0].value == "lists no port"


def test_unreadable_devices_are_unknown(host: Host) -> None:
    (finding,) = rdma_none(dataclasses.replace(host, rdma=Reading.unreadable("/sys", "permission denied")))
    assert (finding.severity, finding.evidence[0].value) == (Severity.UNKNOWN, "permission denied")


def test_all_findings_come_gravest_first(host: Host) -> None:
    unloadable = Reading[str].unreadable("loader", "missing")
    severities = [finding.severity for finding in check_host(dataclasses.replace(host, ibverbs=unloadable))]
    assert severities == [Severity.WARNING, Severity.UNKNOWN, Severity.INFO]
