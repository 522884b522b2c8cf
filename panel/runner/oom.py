"""Whether the kernel killed for want of memory: its counters before and after an end.

A killed process cannot say it, and nobody tells its parent; the counters of its cgroup and of the host do. Only
differences mean anything, so whoever starts a process keeps a `OomCounts` of that moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ...nic_probe.checks.check import Rule
from ...nic_probe.finding import Evidence, Finding, Severity

__all__ = ["RULES", "explain_oom", "oom_counts"]

_RULE = Rule(
    "exit-out-of-memory",
    "The kernel killed a process because memory ran out",
    "When the host or a cgroup (a container, a job) has no memory left, the kernel ends a process in it with SIGKILL. "
    "Its counter of such kills grew while the process ran, and nobody of the panel had sent that signal.",
    ("Linux kernel documentation: cgroup v2, memory.events", "proc_vmstat(5)"),
)
RULES = (_RULE,)


def oom_counts(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> Mapping[str, int]:
    """Returns the kernel's counts of kills by where they are told: this process's cgroups, then the whole host."""
    found: dict[str, int] = {}
    for path in _cgroup_files(proc, cgroups):
        count = _count(path)
        if count is not None:
            found[str(path)] = count
    host = proc / "vmstat"
    count = _count(host)
    return found if count is None else {**found, str(host): count}


def explain_oom(subject: str, before: Mapping[str, int], after: Mapping[str, int]) -> Finding | None:
    """Returns the finding that memory ran out between two counts; None when no counter grew."""
    for source, count in after.items():
        if source in before and count > before[source]:
            evidence = (Evidence(source, f"oom_kill went from {before[source]} to {count}"),)
            reason = "The kernel ended it because memory ran out."
            remedy = "Give it more memory, or lower the KV pool and the number of processes on this host."
            return _RULE.finding(Severity.ERROR, subject, evidence, reason, remedy)
    return None


def _cgroup_files(proc: Path, cgroups: Path) -> list[Path]:
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return []
    files: list[Path] = []
    for line in lines:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        # In a container the path may be the host's, while its own group is mounted at the top.
        inside = path.lstrip("/")
        if not controllers:
            files += [root / part / "memory.events" for root in (cgroups, cgroups / "unified") for part in (inside, "")]
        elif "memory" in controllers.split(","):
            files += [cgroups / "memory" / part / "memory.oom_control" for part in (inside, "")]
    return list(dict.fromkeys(files))


def _count(path: Path) -> int | None:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        words = line.split()
        if len(words) == 2 and words[0] == "oom_kill" and words[1].isdigit():
            return int(words[1])
    return None
