"""Checks of the machine below: its clock, the speed of its CPUs, and other guests of a hypervisor."""

from __future__ import annotations

from ..finding import Finding, Severity
from .check import Check, Rule
from .evidence import seen, setting
from .view import HostView

__all__ = ["CHECKS"]

_STEAL_WARNING = 0.05
_STEAL_INFO = 0.01
# Drivers that raise the frequency by themselves under the governor that sounds slow.
_SELF_GOVERNED = ("intel_pstate", "amd-pstate-epp", "amd_pstate_epp")
_SLOW = ("powersave", "conservative", "userspace")

_CLOCK = Rule(
    "clock-unsynchronised",
    "Whether somebody keeps the clock in step",
    "Logs and samples of several hosts are put on one time axis, and leases and tokens expire by the clock. A clock "
    "that runs free drifts by seconds a day, so that causes appear after their effects.",
    ("adjtimex(2)", "systemd-timesyncd(8)"),
)
_GOVERNOR = Rule(
    "cpu-governor",
    "Frequency governor of the CPUs",
    "The thread that polls for finished transfers and the scheduler of an engine are single threads whose speed "
    "decides over latency. A governor that saves power leaves them at a low frequency.",
    ("Linux admin guide: cpufreq", "ROCm: MI300X system optimization"),
)
_STEAL = Rule(
    "cpu-steal",
    "CPU time that other guests had",
    "A hypervisor gives time that this machine asked for to other guests. Engines and transfers then stop for "
    "moments that no tool inside the machine can explain.",
    ("proc(5): stat, steal",),
)


def clock_unsynchronised(view: HostView) -> list[Finding]:
    """Finds a clock that nobody keeps in step."""
    clock = view.state.machine.clock_synchronised
    if clock.value is not False:
        return []
    return [
        _CLOCK.finding(
            Severity.WARNING if view.active_nics else Severity.INFO,
            "clock",
            [seen(clock, "not synchronised")],
            "The clock runs free, so times of several hosts do not compare.",
            "timedatectl set-ntp true, or start chronyd; in a container on its host.",
        )
    ]


def cpu_governor(view: HostView) -> list[Finding]:
    """Finds a governor that saves power."""
    machine = view.state.machine
    if machine.governor.value not in _SLOW:
        return []
    own = machine.frequency_driver.value in _SELF_GOVERNED
    return [
        _GOVERNOR.finding(
            Severity.WARNING if view.serves and not own else Severity.INFO,
            "CPU frequency",
            [setting(machine.governor), seen(machine.frequency_driver)],
            "The CPUs save power, so the single threads that poll and schedule run slower than they could.",
            "cpupower frequency-set -g performance",
            "performance",
        )
    ]


def cpu_steal(view: HostView) -> list[Finding]:
    """Judges the share of time that other guests had."""
    steal = view.state.machine.steal_share
    if steal.value is None or steal.value < _STEAL_INFO:
        return []
    return [
        _STEAL.finding(
            Severity.WARNING if steal.value >= _STEAL_WARNING else Severity.INFO,
            "CPU time",
            [seen(steal, f"steal {steal.value:.1%} since boot")],
            f"Other guests of the hypervisor had {steal.value:.1%} of the time that this machine asked for.",
            "Use a machine with CPUs of its own (dedicated, pinned or bare metal).",
        )
    ]


CHECKS: tuple[Check[HostView], ...] = (
    Check(_CLOCK, clock_unsynchronised),
    Check(_GOVERNOR, cpu_governor),
    Check(_STEAL, cpu_steal),
)
