"""Memory of the host, from values that a test makes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from check_case import Case, found, make_state, make_view
from pdpanel.nic_probe.checks.view import HostView
from pdpanel.nic_probe.finding import Severity
from pdpanel.nic_probe.state.places import Space
from simulated_host import read, unread

_GIB = 1 << 30


def _kernel(**changes: Any) -> HostView:
    return make_view(state=make_state(kernel=changes))


def _memory(**changes: Any) -> HostView:
    return make_view(memory=replace(make_view().host.memory, **{name: read(value) for name, value in changes.items()}))


def _space(path: str, total: int, free: int | None, **groups: Any) -> HostView:
    return make_view(state=make_state(space=read({path: Space(total, free)}), **groups))


CASES = (
    Case("max-map-count-low", Severity.WARNING, lambda: _kernel(max_map_count=read(65530)), make_view, "=16777216"),
    Case(
        "huge-pages",
        Severity.INFO,
        lambda: _memory(huge_pages_total=1024, huge_page_bytes=2 << 20),
        lambda: _memory(huge_pages_total=0),
        "nr_hugepages=0",
    ),
    Case(
        "transparent-huge-pages-off",
        Severity.INFO,
        lambda: _kernel(transparent_huge_pages=read("never")),
        lambda: _kernel(transparent_huge_pages=read("always")),
        "madvise",
    ),
    Case("memory-low", Severity.WARNING, lambda: _memory(available_bytes=_GIB), make_view),
    Case(
        "swap-in-use",
        Severity.INFO,
        lambda: _memory(swap_total_bytes=8 * _GIB, swap_free_bytes=2 * _GIB),
        lambda: _memory(swap_total_bytes=8 * _GIB, swap_free_bytes=8 * _GIB),
        "swappiness",
    ),
    Case("overcommit-strict", Severity.WARNING, lambda: _kernel(overcommit_memory=read(2)), make_view, "=1"),
    Case("numa-balancing-on", Severity.WARNING, lambda: _kernel(numa_balancing=read(1)), make_view, "numa_balancing=0"),
    Case(
        "shm-small",
        Severity.WARNING,
        lambda: _space("/dev/shm", 64 << 20, 64 << 20, container={"kind": read("docker")}),
        make_view,
        "--shm-size 32g",
    ),
    Case("disk-full", Severity.WARNING, lambda: _space("/tmp", 100 * _GIB, 1000), make_view),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_check_finds_it_and_keeps_silent_otherwise(case: Case) -> None:
    case.verify()


def test_the_default_of_the_kernel_is_a_warning_only_where_memory_is_registered() -> None:
    view = make_view(gpus=(), nics=(), state=make_state(kernel={"max_map_count": read(65530)}))
    (finding,) = found("max-map-count-low", view)
    assert finding.severity is Severity.INFO


def test_huge_pages_that_take_most_of_the_memory() -> None:
    (finding,) = found("huge-pages", _memory(huge_pages_total=300 * 512, huge_page_bytes=2 << 20))
    assert finding.severity is Severity.WARNING


def test_a_control_group_that_has_less_than_the_host() -> None:
    view = make_view(state=make_state(container={"memory_limit_bytes": read(16 * _GIB)}))
    (finding,) = found("memory-low", view)
    assert finding.severity is Severity.INFO
    assert "16 GiB" in finding.reason


def test_balancing_does_nothing_on_one_node() -> None:
    host = make_view().host
    one = replace(host.cpu, numa_nodes=host.cpu.numa_nodes[:1])
    assert found("numa-balancing-on", make_view(cpu=one, state=make_state(kernel={"numa_balancing": read(1)}))) == []


def test_shared_memory_that_is_large_and_full() -> None:
    (finding,) = found("shm-small", _space("/dev/shm", 256 * _GIB, 1000))
    assert finding.corrected is None
    assert "earlier workers" in finding.remedy


def test_the_size_alone_is_enough() -> None:
    assert found("shm-small", _space("/dev/shm", 64 << 20, None))
    assert found("shm-small", _space("/dev/shm", 64 * _GIB, None)) == []


def test_what_is_not_known_is_not_judged() -> None:
    view = make_view(state=make_state(space=unread(), kernel={"max_map_count": unread(), "numa_balancing": unread()}))
    assert [one for case in CASES for one in found(case.id, view)] == []
