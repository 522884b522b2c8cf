"""Which writes go wrong: a plan is drawn from its seed, and read from JSON."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.engine.transfer.faults import Fault, FaultPlan, read_fault_plan


def drawn(plan: FaultPlan, count: int) -> list[tuple[Fault, float]]:
    return list(itertools.islice(plan.draw(), count))


def test_a_seed_draws_the_same_faults_in_the_shares_asked_for() -> None:
    plan = FaultPlan(seed=3, drop=0.2, late=0.1, break_=0.05, delay_s=0.5)
    faults = drawn(plan, 4000)
    assert faults == drawn(plan, 4000) != drawn(FaultPlan(seed=4, drop=0.2), 4000)
    count = Counter(fault for fault, _ in faults)
    assert set(count) == {Fault.NONE, Fault.DROP, Fault.LATE, Fault.BREAK}
    assert 700 < count[Fault.DROP] < 900 and 330 < count[Fault.LATE] < 470 and 140 < count[Fault.BREAK] < 260
    assert all(0 <= delay <= 0.5 for _, delay in faults)


def test_without_shares_nothing_goes_wrong_and_a_script_comes_first() -> None:
    assert {fault for fault, _ in drawn(FaultPlan(), 100)} == {Fault.NONE}
    plan = FaultPlan(script=(Fault.FAIL, Fault.NONE, Fault.DUPLICATE))
    assert [fault for fault, _ in drawn(plan, 5)] == [*plan.script, Fault.NONE, Fault.NONE]


def test_the_variable_is_json() -> None:
    assert read_fault_plan("") is None and read_fault_plan("  ") is None
    assert read_fault_plan('{"seed": 7, "break": 0.5}') == FaultPlan(seed=7, break_=0.5)
    assert read_fault_plan('{"script": ["late"]}') == FaultPlan(script=(Fault.LATE,))


@pytest.mark.parametrize(
    "text",
    ["drop", "[]", '{"drop": 2}', '{"drop": -0.1}', '{"drop": 0.6, "late": 0.6}', '{"lost": 1}', '{"seed": "x"}'],
)
def test_anything_else_is_refused_by_name(text: str) -> None:
    with pytest.raises(ConfigError, match="PDPANEL_FAULTY_TRANSPORT"):
        read_fault_plan(text)
