"""Which processes there are, from /proc: who a pid is, who belongs to a run, what a group uses.

A process is known by boot id, pid and start ticks, since pids are reused and a create time moves with the
clock. Every function takes a vanished process for one that has ended.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "Stat",
    "all_stats",
    "boot_clock_s",
    "boot_id",
    "is_alive",
    "is_still",
    "members_of",
    "read_stat",
    "send_signal",
    "variables",
]

_DEAD = frozenset("ZXx")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Stat:
    """One line of /proc/PID/stat; `cpu_s` is its user and system time, `start_ticks` counts from boot."""

    pid: int
    state: str
    group: int
    session: int
    cpu_s: float
    start_ticks: int
    rss_bytes: int

    @property
    def age_s(self) -> float:
        """Seconds since it was started, on the clock of this boot, which nobody sets."""
        return max(0.0, boot_clock_s() - self.start_ticks / _TICKS_PER_S)

    @property
    def alive(self) -> bool:
        """False for a zombie: it has ended and only waits for its parent to look."""
        return self.state not in _DEAD


def boot_id() -> str:
    """Returns the id of this boot, empty where the kernel tells none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def boot_clock_s() -> float:
    """Returns the seconds since boot, sleep included: the clock of `Stat.start_ticks`."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def read_stat(pid: int) -> Stat | None:
    """Returns what the kernel says about `pid`, None if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
    except OSError:
        return None
    # The name is in parentheses and may hold anything, also ")": fields begin after the last one.
    fields = text[text.rindex(b")") + 2 :].split()
    return Stat(
        pid=pid,
        state=fields[0].decode(),
        group=int(fields[2]),
        session=int(fields[3]),
        cpu_s=(int(fields[11]) + int(fields[12])) / _TICKS_PER_S,
        start_ticks=int(fields[19]),
        rss_bytes=int(fields[21]) * _PAGE_BYTES,
    )


def is_alive(pid: int, start_ticks: int) -> bool:
    """Returns True if the process that was `pid` since `start_ticks` of this boot still runs."""
    stat = read_stat(pid)
    return stat is not None and stat.alive and stat.start_ticks == start_ticks


def is_still(pid: int | None, start_ticks: int | None, run_id: str) -> bool:
    """Returns True if the process that was `pid` since `start_ticks` of this boot runs, and is not another run's.

    What carries no PDPANEL_RUN_ID any more is not held against it: programs that rename themselves write over their
    environment.
    """
    if pid is None or start_ticks is None or not is_alive(pid, start_ticks):
        return False
    return _is_of(pid, run_id)


def _is_of(pid: int, run_id: str) -> bool:
    return variables(pid, ("PDPANEL_RUN_ID",)).get("PDPANEL_RUN_ID", run_id) == run_id


def all_stats() -> list[Stat]:
    """Returns all living processes."""
    stats = (read_stat(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return [stat for stat in stats if stat is not None and stat.alive]


def variables(pid: int, names: Iterable[str]) -> dict[str, str]:
    """Returns those of the variables `names` that `pid` was started with; empty if they cannot be read."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            entries = file.read().split(b"\0")
    except OSError:
        return {}
    wanted = {name.encode() for name in names}
    pairs = (entry.partition(b"=") for entry in entries)
    return {name.decode(): value.decode(errors="replace") for name, _, value in pairs if name in wanted}


def members_of(run_id: str, leaders: Mapping[str, tuple[int | None, int | None]]) -> dict[str, list[Stat]]:
    """Returns the living processes that belong to the run's processes `leaders`, by name, after one look at /proc.

    They are those of the leader's group or session, and those that left both but carry PDPANEL_RUN_ID and
    PDPANEL_PROCESS in their environment. A group whose leader is somebody else by now does not count.

    Args:
        run_id: the run.
        leaders: pid and start ticks of each first process; None for one that was never known.
    """
    by_leader: dict[int, str] = {}
    for name, (leader, ticks) in leaders.items():
        if leader is not None:
            now = read_stat(leader)
            # A pid is not given out anew while a group still bears it, so no leader at all means the old group.
            if now is None or (now.start_ticks == ticks and _is_of(leader, run_id)):
                by_leader[leader] = name
    found: dict[str, list[Stat]] = {name: [] for name in leaders}
    for stat in all_stats():
        name = by_leader.get(stat.session) or by_leader.get(stat.group)
        if name is None:
            marks = variables(stat.pid, ("PDPANEL_RUN_ID", "PDPANEL_PROCESS"))
            if marks.get("PDPANEL_RUN_ID") != run_id:
                continue
            name = marks.get("PDPANEL_PROCESS", "")
        if name in found:
            found[name].append(stat)
    return found


def send_signal(stat: Stat, number: signal.Signals) -> bool:
    """Sends a signal to exactly that process, never to a later one with its pid.

    False if it is gone or not ours.
    """
    try:
        handle = os.pidfd_open(stat.pid)
    except OSError:
        return False
    try:
        now = read_stat(stat.pid)
        if now is None or now.start_ticks != stat.start_ticks:
            return False
        signal.pidfd_send_signal(handle, number)
    except (ProcessLookupError, PermissionError):
        return False
    finally:
        os.close(handle)
    return True
