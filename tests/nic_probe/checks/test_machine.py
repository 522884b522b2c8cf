"""Clock, governor and stolen time, from values that a test makes."""

from __future__ import annotations

from typing import Any

import pytest
from check_case import Case, found, make_state, make_view
from pdpanel.nic_probe.checks.view import HostView
from pdpanel.nic_probe.finding import Severity
from simulated_host import read, unread


def _machine(**changes: Any) -> HostView:
    return make_view(state=make_state(machine=changes))


CASES = (
    Case(
        "clock-unsynchronised",
        Severity.WARNING,
        lambda: _machine(clock_synchronised=read(False)),
        lambda: _machine(clock_synchronised=unread()),
        "set-ntp",
    ),
    Case(
        "cpu-governor",
        Severity.WARNING,
        lambda: _machine(governor=read("powersave")),
        lambda: _machine(governor=read("schedutil")),
        "performance",
    ),
    Case(
        "cpu-steal",
        Severity.WARNING,
        lambda: _machine(steal_share=read(0.2)),
        lambda: _machine(steal_share=read(0.001)),
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_check_finds_it_and_keeps_silent_otherwise(case: Case) -> None:
    case.verify()


def test_some_drivers_are_fast_under_a_governor_that_sounds_slow() -> None:
    (finding,) = found("cpu-governor", _machine(governor=read("powersave"), frequency_driver=read("intel_pstate")))
    assert finding.severity is Severity.INFO


def test_a_laptop_may_save_power_and_run_free() -> None:
    state = make_state(machine={"governor": read("powersave"), "clock_synchronised": read(False)})
    view = make_view(gpus=(), nics=(), state=state)
    for id_ in ("cpu-governor", "clock-unsynchronised"):
        (finding,) = found(id_, view)
        assert finding.severity is Severity.INFO


def test_a_little_stolen_time_is_worth_a_word() -> None:
    (finding,) = found("cpu-steal", _machine(steal_share=read(0.02)))
    assert finding.severity is Severity.INFO
    assert "2.0%" in finding.reason
