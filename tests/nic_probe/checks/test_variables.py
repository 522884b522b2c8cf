"""The environment of workers, from values that a test makes."""

from __future__ import annotations

import pytest
from check_case import Case, found, make_netdev, make_state, make_view, roce_nic
from pdpanel.nic_probe.checks.variables import PRESENCE_TESTED
from pdpanel.nic_probe.checks.view import HostView
from pdpanel.nic_probe.finding import Severity
from simulated_host import read


def _environ(**environ: str) -> HostView:
    return make_view(state=make_state(environ))


CASES = (
    Case(
        "variable-off-is-on",
        Severity.WARNING,
        lambda: _environ(MC_FORCE_MNNVL="0"),
        lambda: _environ(MC_FORCE_MNNVL="1", MC_PATH_ROUNDROBIN="0"),
        "unset MC_FORCE_MNNVL",
    ),
    Case(
        "tcp-forced",
        Severity.WARNING,
        lambda: _environ(MC_FORCE_TCP="1"),
        lambda: make_view(nics=(), state=make_state({"MC_FORCE_TCP": "1"})),
        "unset MC_FORCE_TCP",
    ),
    Case(
        "nic-not-here",
        Severity.ERROR,
        lambda: _environ(MC_TE_FILTERS="rocep24s0, rocep25s0"),
        lambda: _environ(MC_TE_FILTERS=" mlx5_0 ,mlx5_1"),
        "MC_TE_FILTERS=mlx5_0,mlx5_1",
    ),
    Case(
        "rdma-setting",
        Severity.ERROR,
        lambda: _environ(MC_IB_PORT="2"),
        lambda: _environ(MC_IB_PORT="1", MC_MTU="1024"),
        "unset MC_IB_PORT",
    ),
    Case(
        "mooncake-config-ignored",
        Severity.WARNING,
        lambda: _environ(MOONCAKE_CONFIG_PATH="/etc/mooncake.json"),
        make_view,
        "--disaggregation-ib-device",
    ),
    Case(
        "proxy-set",
        Severity.WARNING,
        lambda: _environ(http_proxy="http://proxy:3128", no_proxy=".example.com"),
        lambda: _environ(http_proxy="http://proxy:3128", no_proxy="localhost,127.0.0.1,192.168.0.0/16"),
        "no_proxy=.example.com,localhost,127.0.0.1,::1,192.168.0.1,192.168.1.1",
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_check_finds_it_and_keeps_silent_otherwise(case: Case) -> None:
    case.verify()


@pytest.mark.parametrize("value", ["0", "false", ""])
def test_tcp_that_was_meant_to_be_off_is_an_error_on_a_host_with_rdma(value: str) -> None:
    (finding,) = found("variable-off-is-on", _environ(MC_FORCE_TCP=value))
    assert finding.severity is Severity.ERROR
    assert found("tcp-forced", _environ(MC_FORCE_TCP=value)) == []
    (finding,) = found("variable-off-is-on", make_view(nics=(), state=make_state({"MC_FORCE_TCP": value})))
    assert finding.severity is Severity.WARNING


@pytest.mark.parametrize("name", PRESENCE_TESTED)
def test_every_switch_that_is_tested_for_presence_is_known(name: str) -> None:
    assert found("variable-off-is-on", _environ(**{name: "0"}))


def test_a_filter_that_leaves_some_nics() -> None:
    (finding,) = found("nic-not-here", _environ(MC_TE_FILTERS="mlx5_0,mlx5_9"))
    assert finding.severity is Severity.WARNING
    assert "mlx5_9" in finding.reason


@pytest.mark.parametrize(
    ("name", "value", "wrong"),
    [
        ("NCCL_IB_HCA", "mlx5", False),
        ("NCCL_IB_HCA", "^mlx4", False),
        ("NCCL_IB_HCA", "=mlx5_1:1", False),
        ("NCCL_IB_HCA", "mlx4", True),
        ("UCX_NET_DEVICES", "mlx5_0:1,eth1", False),
        ("UCX_NET_DEVICES", "all", False),
        ("UCX_NET_DEVICES", "mlx5_7:1", True),
        ("MOONCAKE_DEVICE", "erdma_0", True),
    ],
)
def test_names_as_each_library_reads_them(name: str, value: str, wrong: bool) -> None:
    view = make_view(netdevs=(make_netdev("eth1", "10.0.0.1/24"),), state=make_state({name: value}))
    assert bool(found("nic-not-here", view)) is wrong


def test_without_any_nic_every_name_is_left_to_another_check() -> None:
    assert found("nic-not-here", make_view(nics=(), state=make_state({"MC_TE_FILTERS": "mlx5_0"}))) == []


def test_an_mtu_that_rdma_does_not_know() -> None:
    (finding,) = found("rdma-setting", _environ(MC_MTU="1500"))
    assert (finding.severity, finding.corrected) == (Severity.WARNING, "4096")


def test_a_port_that_is_down_on_one_nic() -> None:
    down = roce_nic(1, port={"state": read("DOWN")})
    other = roce_nic(0, port={"number": 2})
    assert found("rdma-setting", make_view(nics=(other, down), state=make_state({"MC_IB_PORT": "1"})))
    assert found("rdma-setting", _environ(MC_IB_PORT="0")) == []  # Mooncake ignores it.


@pytest.mark.parametrize(
    ("packages", "severity"),
    [
        ({"sglang": "0.5.9"}, Severity.WARNING),
        ({"sglang": "0.5.9", "vllm": "0.33.0"}, Severity.INFO),
        ({}, Severity.INFO),
        ({"vllm": "0.33.0"}, None),
        ({"sglang": "0.4.5.post1"}, None),
    ],
)
def test_who_reads_the_file(packages: dict[str, str], severity: Severity | None) -> None:
    state = make_state({"MOONCAKE_CONFIG_PATH": "/x.json"}, software={"packages": read(packages)})
    findings = found("mooncake-config-ignored", make_view(state=state))
    assert [finding.severity for finding in findings] == ([severity] if severity else [])


@pytest.mark.parametrize(
    ("environ", "severity"),
    [
        ({"HTTP_PROXY": "http://p"}, Severity.WARNING),
        ({"ALL_PROXY": "socks://p", "NO_PROXY": "localhost"}, Severity.WARNING),
        ({"https_proxy": "http://p"}, Severity.INFO),
        ({"http_proxy": "http://p", "no_proxy": "localhost,127.0.0.1"}, Severity.INFO),
        ({"http_proxy": "http://p", "no_proxy": "localhost,127.0.0.1,192.168.*"}, None),
        ({"http_proxy": "http://p", "no_proxy": "*"}, None),
        ({"http_proxy": ""}, None),
    ],
)
def test_what_a_proxy_catches(environ: dict[str, str], severity: Severity | None) -> None:
    findings = found("proxy-set", _environ(**environ))
    assert [finding.severity for finding in findings] == ([severity] if severity else [])
