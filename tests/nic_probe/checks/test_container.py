"""The container around a process, from values that a test makes."""

from __future__ import annotations

from typing import Any

import pytest
from check_case import Case, found, make_netdev, make_state, make_view, roce_nic
from pdpanel.nic_probe.checks.view import HostView
from pdpanel.nic_probe.finding import Severity
from pdpanel.nic_probe.state.limits import Limit
from pdpanel.nic_probe.state.places import Space
from simulated_host import read, unread

_DOCKER = {"kind": read("docker")}
_BRIDGED = (make_netdev("lo", "127.0.0.1/8"), make_netdev("eth0", "172.17.0.2/16"))


def _bare_nics() -> tuple[Any, ...]:
    """NICs as a container that was given nothing sees them."""
    absent = unread("does not exist")
    return tuple(roce_nic(n, verbs_node=absent, usable=False, netdevs=absent, port={"netdevs": ()}) for n in range(2))


def _container(**groups: Any) -> HostView:
    state = make_state(
        **{
            "container": _DOCKER,
            "limits": {"memlock": read(Limit(65536, 65536))},
            "space": read({"/dev/shm": Space(64 << 20, 64 << 20)}),
            **groups,
        }
    )
    return make_view(nics=_bare_nics(), netdevs=_BRIDGED, state=state)


def _equipped() -> HostView:
    return make_view(state=make_state(container=_DOCKER))


CASES = (
    Case(
        "container-flags",
        Severity.WARNING,
        _container,
        _equipped,
        "--device /dev/infiniband --cap-add IPC_LOCK --ulimit memlock=-1 --shm-size 32g --network host",
    ),
    Case("container-network", Severity.WARNING, _container, _equipped, "--network host"),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_check_finds_it_and_keeps_silent_otherwise(case: Case) -> None:
    case.verify()


def test_only_what_is_missing_is_asked_for() -> None:
    state = make_state(container=_DOCKER, limits={"memlock": read(Limit(65536, 65536))})
    (finding,) = found("container-flags", make_view(state=state))
    assert finding.corrected == "--cap-add IPC_LOCK --ulimit memlock=-1"


@pytest.mark.parametrize("kind", [read(""), unread()])
def test_outside_of_a_container_nothing_is_asked_for(kind: Any) -> None:
    view = _container(container={"kind": kind})
    assert [finding for case in CASES for finding in found(case.id, view)] == []


def test_a_container_without_nics_needs_no_flags() -> None:
    view = make_view(nics=(), netdevs=_BRIDGED, state=make_state(container=_DOCKER))
    assert [finding for case in CASES for finding in found(case.id, view)] == []
