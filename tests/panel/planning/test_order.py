from __future__ import annotations

from dataclasses import replace

import pytest
from pdpanel.panel.launch import ProcessSpec, Readiness, Role
from pdpanel.panel.planning.order import check_order


def process(name: str, *after: str) -> ProcessSpec:
    return ProcessSpec(name, Role.PREFILL, "", ("run",), {}, "", {}, Readiness("", 1.0), f"{name}.log", after=after)


def test_each_waits_for_earlier_ones() -> None:
    check_order([process("a"), process("b", "a"), process("c", "a", "b")])


@pytest.mark.parametrize(
    ("processes", "said"),
    [
        ([process("a"), process("a")], "a is there twice"),
        ([process("a", "b"), process("b")], "a waits for b"),
        ([process("a", "a")], "a waits for a"),
        ([replace(process("a"), argv=())], "a has no command"),
        ([process("a"), replace(process("b"), log="a.log")], "b writes to another's log"),
    ],
)
def test_what_cannot_start_is_a_fault_of_the_dialect(processes: list[ProcessSpec], said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        check_order(processes)
