"""The way from a process to a NIC, from values that a test makes."""

from __future__ import annotations

from typing import Any

import pytest
from check_case import Case, found, make_state, make_view, roce_nic
from pdpanel.nic_probe.checks.view import HostView
from pdpanel.nic_probe.finding import Severity
from pdpanel.nic_probe.reading import Reading
from pdpanel.nic_probe.state.container import RdmaQuota
from pdpanel.nic_probe.state.places import DeviceNode
from simulated_host import read, unread

_SHUT = {"verbs_node": unread("gives this user no permission to write it"), "usable": False}


def _both(**changes: Any) -> tuple[Any, ...]:
    return roce_nic(0, **changes), roce_nic(1, **changes)


def _quota(handles: int | None, used: int) -> HostView:
    quotas = {"mlx5_0": RdmaQuota(handles, None)}
    held = {"mlx5_0": RdmaQuota(used, used)}
    return make_view(state=make_state(container={"rdma_max": read(quotas), "rdma_current": read(held)}))


def _software(**changes: Any) -> HostView:
    return make_view(state=make_state(software=changes))


CASES = (
    Case("rdma-none", Severity.WARNING, lambda: make_view(nics=()), make_view, "MC_FORCE_TCP=1"),
    Case(
        "ibverbs-missing",
        Severity.ERROR,
        lambda: make_view(ibverbs=unread("libibverbs.so.1: cannot open shared object file")),
        make_view,
        "libibverbs1",
    ),
    Case("verbs-node-missing", Severity.ERROR, lambda: make_view(nics=_both(**_SHUT)), make_view, "usermod -aG rdma"),
    Case(
        "rdma-cm-missing",
        Severity.INFO,
        lambda: make_view(
            state=make_state(devices=read({"/dev/infiniband/rdma_cm": DeviceNode("absent", False, False)}))
        ),
        make_view,
        "rdma_ucm",
    ),
    Case(
        "uverbs-not-loaded",
        Severity.ERROR,
        lambda: make_view(
            nics=_both(**_SHUT), state=make_state(kernel={"modules": read({"ib_core": "", "mlx5_core": ""})})
        ),
        lambda: make_view(nics=_both(**_SHUT), state=make_state(kernel={"modules": read({"tcp_cubic": ""})})),
        "modprobe ib_uverbs",
    ),
    Case("rdma-quota", Severity.ERROR, lambda: _quota(2, 2), lambda: _quota(2, 1), "hca_handle=max"),
    Case(
        "rdma-namespace-exclusive",
        Severity.INFO,
        lambda: make_view(state=make_state(kernel={"rdma_shared": read(False)})),
        make_view,
        "netns shared",
    ),
    Case(
        "verbs-provider-missing",
        Severity.ERROR,
        lambda: _software(
            verbs_providers=read(("rxe", "siw")), libraries=read({"libmlx5.so.1": "cannot open shared object file"})
        ),
        make_view,
        "apt-get install ibverbs-providers",
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_check_finds_it_and_keeps_silent_otherwise(case: Case) -> None:
    case.verify()


def test_a_port_that_is_down_is_named() -> None:
    (finding,) = found("rdma-none", make_view(nics=(roce_nic(0, port={"state": read("DOWN")}),)))
    assert [(evidence.source, evidence.value) for evidence in finding.evidence] == [
        ("test/mlx5_0/ports/1/state", "DOWN")
    ]
    assert "ACTIVE" in finding.reason


def test_a_device_without_ports_is_evidence_too() -> None:
    (finding,) = found("rdma-none", make_view(nics=(roce_nic(0, ports=()),)))
    assert finding.evidence[0].value == "lists no port"


def test_a_state_that_the_source_does_not_tell_is_not_down() -> None:
    assert found("rdma-none", make_view(nics=(roce_nic(0, port={"state": unread()}),), live=False)) == []
    assert found("rdma-none", make_view(nics=(roce_nic(0, ports=()),), source="hwloc", live=False)) == []


def test_unreadable_devices_are_unknown() -> None:
    (finding,) = found("rdma-none", make_view(rdma=Reading.unreadable("/sys", "permission denied")))
    assert (finding.severity, finding.evidence[0].value) == (Severity.UNKNOWN, "permission denied")


def test_a_laptop_without_the_library_keeps_the_tcp_transport() -> None:
    (finding,) = found("ibverbs-missing", make_view(nics=(), ibverbs=unread("libibverbs.so.1: missing")))
    assert finding.severity is Severity.WARNING
    assert finding.evidence[0].value == "libibverbs.so.1: missing"


def test_a_capture_tells_of_the_library_by_its_facts_alone() -> None:
    silent = make_view(
        live=False, ibverbs=unread("the capture does not say"), state=make_state(software={"libraries": read({})})
    )
    assert found("ibverbs-missing", silent) == []
    told = make_state(software={"libraries": read({"libibverbs.so.1": "cannot open"})})
    assert found("ibverbs-missing", make_view(live=False, ibverbs=unread("cannot open"), state=told))


def test_a_container_gets_the_flags_that_hand_nodes_in() -> None:
    nics = _both(verbs_node=unread("does not exist"), usable=False)
    (finding,) = found("verbs-node-missing", make_view(nics=nics, state=make_state(container={"kind": read("docker")})))
    assert "--device /dev/infiniband" in finding.remedy
    assert finding.subject == "mlx5_0, mlx5_1"


def test_some_of_the_nics_may_belong_to_others() -> None:
    view = make_view(nics=(roce_nic(0), roce_nic(1, **_SHUT)))
    (finding,) = found("verbs-node-missing", view)
    assert (finding.severity, finding.subject) == (Severity.WARNING, "mlx5_1")


def test_rights_that_nobody_looked_at_are_no_finding() -> None:
    view = make_view(nics=_both(verbs_node=unread("the capture does not say")), state=make_state(devices=unread()))
    assert found("verbs-node-missing", view) == []


def test_a_library_that_loads_is_there_whatever_the_list_says() -> None:
    assert found("verbs-provider-missing", _software(verbs_providers=read(()))) == []
    unlisted = _software(verbs_providers=unread("does not exist"), libraries=read({}))
    assert found("verbs-provider-missing", unlisted) == []


def test_a_container_without_nics_in_exclusive_mode() -> None:
    state = make_state(kernel={"rdma_shared": read(False)}, container={"kind": read("podman")})
    (finding,) = found("rdma-namespace-exclusive", make_view(nics=(), state=state))
    assert finding.severity is Severity.WARNING
