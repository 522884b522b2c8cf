"""Who listens on a port, as far as it matters to readiness: an answer of somebody older is not this process's answer.

Two runs that were planned at the same moment, or what is left of an earlier one, may hold the port of a process that
is about to fail for that. Whatever listened before the process was started cannot belong to it; what came later may,
however it was started (a container's server is no child of ours). From /proc alone; unknown counts as ours.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from .procfs import all_stats, read_stat

__all__ = ["older_listener"]

_LISTEN = "0A"


def older_listener(port: int, pid: int, start_ticks: int) -> int | None:
    """Returns the process that listens on `port` and is older than the one that was `pid` since `start_ticks`.

    None where that one, one of its group or a later process listens, or nobody can say.
    """
    sockets = {f"socket:[{inode}]" for inode in _listening(port)}
    if not sockets or _holds(pid, sockets):
        return None
    older: int | None = None
    stats = all_stats()
    # Its own group first: most often it is one of them, and then the others need no look.
    for stat in sorted(stats, key=lambda stat: pid not in (stat.session, stat.group)):
        if _holds(stat.pid, sockets):
            now = read_stat(stat.pid)
            if now is None or now.start_ticks >= start_ticks or pid in (stat.session, stat.group):
                return None
            older = stat.pid
    return older


def _listening(port: int) -> Iterable[str]:
    wanted = f":{port:04X}"
    for path in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(path, encoding="ascii") as file:
                next(file, None)
                for line in file:
                    fields = line.split()
                    if fields[3] == _LISTEN and fields[1].endswith(wanted):
                        yield fields[9]
        except (OSError, IndexError):
            continue


def _holds(pid: int, sockets: set[str]) -> bool:
    folder = f"/proc/{pid}/fd"
    try:
        names = os.listdir(folder)
    except OSError:
        return False
    for name in names:
        try:
            if os.readlink(f"{folder}/{name}") in sockets:
                return True
        except OSError:
            continue
    return False
