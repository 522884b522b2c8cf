"""What the kernel allows a process, from values that a test makes."""

from __future__ import annotations

from typing import Any

import pytest
from check_case import Case, found, make_state, make_view, roce_nic
from pdpanel.nic_probe.checks.view import HostView
from pdpanel.nic_probe.finding import Severity
from pdpanel.nic_probe.state.limits import Limit
from simulated_host import make_port, read

_LOW = Limit(8 << 20, 8 << 20)


def _memlock(**limits: Any) -> HostView:
    return make_view(state=make_state(limits={"memlock": read(_LOW), **limits}))


CASES = (
    Case("memlock-low", Severity.ERROR, _memlock, make_view, "ulimit -l unlimited"),
    Case(
        "nofile-low",
        Severity.WARNING,
        lambda: make_view(state=make_state(limits={"nofile": read(Limit(1024, 4096))})),
        lambda: make_view(state=make_state(limits={"nofile": read(Limit(65536, 65536))})),
        "LimitNOFILE",
    ),
    Case(
        "process-limits",
        Severity.INFO,
        lambda: make_view(state=make_state(limits={"core": read(Limit(0, None))})),
        make_view,
        "ulimit -c unlimited",
    ),
    Case(
        "cpuset-misses-node",
        Severity.WARNING,
        lambda: make_view(state=make_state(limits={"cpus_allowed": read(frozenset(range(16)))})),
        lambda: make_view(state=make_state(limits={"cpus_allowed": read(frozenset((3, 20)))})),
        "--cpunodebind=1",
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_check_finds_it_and_keeps_silent_otherwise(case: Case) -> None:
    case.verify()


def test_the_right_to_pin_memory_lifts_the_limit_but_not_in_a_user_namespace() -> None:
    may = {"capabilities": read(frozenset(("IPC_LOCK",)))}
    assert found("memlock-low", _memlock(**may)) == []
    (finding,) = found("memlock-low", _memlock(**may, user_namespace=read(True)))
    assert finding.severity is Severity.ERROR
    assert "user namespace" in finding.evidence[1].value


def test_a_low_memlock_breaks_nothing_where_no_nic_would_pin_memory() -> None:
    state = make_state(limits={"memlock": read(_LOW)})
    (finding,) = found("memlock-low", make_view(nics=(), state=state))
    assert finding.severity is Severity.INFO
    down = roce_nic(0, port={"state": read("DOWN")})
    (finding,) = found("memlock-low", make_view(nics=(down,), state=state))
    assert finding.severity is Severity.WARNING


def test_a_limit_that_holds_a_pool_is_no_error() -> None:
    (finding,) = found("memlock-low", _memlock(memlock=read(Limit(64 << 30, 64 << 30))))
    assert finding.severity is Severity.WARNING
    assert found("memlock-low", _memlock(memlock=read(Limit(400 << 30, None)))) == []


def test_a_container_gets_the_flags_of_docker() -> None:
    state = make_state(limits={"memlock": read(_LOW)}, container={"kind": read("docker")})
    (finding,) = found("memlock-low", make_view(state=state))
    assert "--ulimit memlock=-1" in finding.remedy
    assert "--cap-add IPC_LOCK" in finding.remedy


def test_a_soft_limit_that_workers_raise_themselves_is_worth_a_word_alone() -> None:
    view = make_view(state=make_state(limits={"nofile": read(Limit(1024, 1 << 20))}))
    (finding,) = found("nofile-low", view)
    assert finding.severity is Severity.INFO


def test_a_small_stack_is_graver_than_no_core_file() -> None:
    view = make_view(state=make_state(limits={"stack": read(Limit(1 << 20, None)), "core": read(Limit(0, 0))}))
    (finding,) = found("process-limits", view)
    assert (finding.severity, len(finding.evidence)) == (Severity.WARNING, 1)


def test_memory_of_a_node_that_is_not_allowed() -> None:
    (finding,) = found(
        "cpuset-misses-node", make_view(state=make_state(limits={"mems_allowed": read(frozenset((0,)))}))
    )
    assert finding.subject == "NUMA node 1"
    assert "mlx5_1" in finding.reason


def test_a_node_that_nothing_hangs_on_may_be_left_out() -> None:
    state = make_state(limits={"cpus_allowed": read(frozenset(range(16)))})
    here = make_view(gpus=make_view().host.gpus.devices[:1], nics=(roce_nic(0, ports=(make_port(),)),), state=state)
    assert found("cpuset-misses-node", here) == []
