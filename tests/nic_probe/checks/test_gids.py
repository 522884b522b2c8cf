"""GID tables, from values that a test makes."""

from __future__ import annotations

from typing import Any

import pytest
from check_case import Case, found, make_state, make_view, roce_nic
from pdpanel.nic_probe.checks.view import HostView
from pdpanel.nic_probe.finding import Severity
from pdpanel.nic_probe.nics.device import Gid
from pdpanel.nic_probe.nics.gids import ranked
from pdpanel.nic_probe.reading import Reading
from simulated_host import read, unread

_V2, _V1 = read("RoCE v2"), read("IB/RoCE v1")


def _gid(index: int, address: str, kind: Reading[str] = _V2, netdev: str | None = "eth1") -> Gid:
    return Gid(index, address, kind, unread("does not exist") if netdev is None else read(netdev))


def _view(first: tuple[Gid, ...], second: tuple[Gid, ...] | None = None, **changes: Any) -> HostView:
    tables = (first, first if second is None else second)
    nics = [roce_nic(number, port={"gids": ranked(gids, "Ethernet")}) for number, gids in enumerate(tables)]
    return make_view(nics=nics, **changes)


def _index(name: str, value: str, *tables: tuple[Gid, ...]) -> HostView:
    return _view(*(tables or (_COMMON,)), state=make_state({name: value}))


_COMMON = (
    _gid(0, "fe80::1", _V1),
    _gid(1, "fe80::1"),
    _gid(2, "192.168.0.1", _V1),
    _gid(3, "192.168.0.1"),
)
_SPARSE = (_gid(5, "192.168.1.1"),)

CASES = (
    Case("gid-none-usable", Severity.ERROR, lambda: _view(()), lambda: _view(_COMMON), "ip addr add"),
    Case(
        "gid-index-null",
        Severity.ERROR,
        lambda: _index("MC_GID_INDEX", "7"),
        lambda: _index("MC_GID_INDEX", "3"),
        "export MC_GID_INDEX=3",
    ),
    Case(
        "gid-index-uncommon",
        Severity.INFO,
        lambda: _view(_COMMON, _SPARSE),
        lambda: _view(_COMMON, _COMMON),
        "unset",
    ),
    Case(
        "gid-roce-v1-only",
        Severity.WARNING,
        lambda: _view((_gid(0, "192.168.0.1", _V1),)),
        lambda: _view(_COMMON),
        "cma_roce_mode",
    ),
    Case(
        "gid-degraded-only",
        Severity.WARNING,
        lambda: _view((_gid(1, "fe80::1"), _gid(2, "172.17.0.1", netdev="docker0"))),
        lambda: _view(_COMMON),
        "ip addr add",
    ),
    Case(
        "gid-without-netdev",
        Severity.WARNING,
        lambda: _view((_gid(3, "192.168.0.1", netdev=None),)),
        lambda: _view(_COMMON),
        "network namespace",
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_check_finds_it_and_keeps_silent_otherwise(case: Case) -> None:
    case.verify()


def test_one_nic_without_a_gid_leaves_the_others() -> None:
    (finding,) = found("gid-none-usable", _view(_COMMON, ()))
    assert (finding.severity, finding.subject) == (Severity.WARNING, "mlx5_1")


def test_a_capture_without_tables_is_not_judged() -> None:
    nic = roce_nic(0, port={"gids": (), "gid_table_length": unread("does not exist")})
    assert found("gid-none-usable", make_view(nics=(nic,))) == []


def test_nccls_variable_counts_unless_mooncakes_is_set() -> None:
    (finding,) = found("gid-index-null", _index("NCCL_IB_GID_INDEX", "7"))
    assert finding.remedy == "export NCCL_IB_GID_INDEX=3"
    assert found("gid-index-null", _index("NCCL_IB_GID_INDEX", "-1")) == []
    both = _view(_COMMON, state=make_state({"NCCL_IB_GID_INDEX": "7", "MC_GID_INDEX": "3"}))
    assert found("gid-index-null", both) == []


def test_without_a_common_index_the_variable_is_best_left_out() -> None:
    (finding,) = found("gid-index-null", _index("MC_GID_INDEX", "3", _COMMON, _SPARSE))
    assert (finding.severity, finding.subject, finding.corrected) == (Severity.ERROR, "mlx5_1", None)
    assert finding.remedy.startswith("unset MC_GID_INDEX")


@pytest.mark.parametrize("value", ["256", "x", "3.0", "-2", "٣"])
def test_what_is_no_index_is_ignored_by_mooncake(value: str) -> None:
    (finding,) = found("gid-index-null", _index("MC_GID_INDEX", value))
    assert (finding.severity, finding.corrected) == (Severity.WARNING, "3")


def test_an_index_of_roce_v1_where_v2_is_there() -> None:
    (finding,) = found("gid-index-null", _index("MC_GID_INDEX", "2"))
    assert (finding.severity, finding.corrected) == (Severity.WARNING, "3")


def test_the_index_that_most_nics_prefer_is_the_common_one() -> None:
    two = (_gid(3, "192.168.0.1"), _gid(4, "192.168.0.2"))
    one = (_gid(4, "192.168.1.1"), _gid(6, "192.168.1.2"))
    (finding,) = found("gid-index-null", _index("MC_GID_INDEX", "9", two, one))
    assert finding.corrected == "4"


def test_infiniband_has_no_interfaces_and_no_versions() -> None:
    gids = ranked((Gid(0, "fe80::a088:c203:0:1", _V1, unread("does not exist")),), "InfiniBand")
    nics = [roce_nic(n, port={"gids": gids, "link_layer": read("InfiniBand"), "netdevs": ()}) for n in range(2)]
    view = make_view(nics=nics)
    assert [finding for case in CASES for finding in found(case.id, view)] == []


def test_a_capture_without_attributes_of_gids_says_nothing_of_interfaces() -> None:
    bare = (_gid(3, "192.168.0.1", netdev=None),)
    assert found("gid-without-netdev", _view(bare, live=False)) == []
