"""Ends processes for good: the whole group, children that left it, and their ports.

The one stop of the panel: the runner calls it for its children, `panel.runs` for a run whose runner is gone.
Works from records alone and blocks, so an event loop calls it in a thread. It never waits for (reaps) a
child: a zombie has ended.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..launch import Role
from ..ports import is_free, port_holder
from .procfs import Stat, members_of, read_stat, send_signal
from .state import ProcessRecord

__all__ = ["Ending", "end_processes"]

_POLL_S = 0.02
_KILL_WAIT_S = 10.0
_PORT_WAIT_S = 3.0
_SERVERS = frozenset({Role.METADATA, Role.STORE})


@dataclass(frozen=True, slots=True)
class Ending:
    """How it went, in sentences by process name; both empty when all is well.

    Attributes:
        stuck: processes that did not end although they were killed.
        held: ports that somebody else holds although the process is gone.
    """

    stuck: Mapping[str, str]
    held: Mapping[str, str]

    @property
    def notice(self) -> str:
        """Everything that went wrong in one line."""
        return " ".join((*self.stuck.values(), *self.held.values()))


def end_processes(
    run_id: str,
    host: str,
    records: Sequence[ProcessRecord],
    progress: Callable[[str], None] = lambda line: None,
) -> Ending:
    """Ends all `records`: SIGTERM, each one's grace, SIGKILL; waits for groups and ports.

    All at once, but servers that others say goodbye to come last: an engine of Mooncake whose metadata server is gone
    waits 5 s for it, twice, before it ends.
    """
    others = [record for record in records if record.role not in _SERVERS]
    servers = [record for record in records if record.role in _SERVERS]
    first = _end_at_once(run_id, host, others, progress)
    last = _end_at_once(run_id, host, servers, progress)
    return Ending({**first.stuck, **last.stuck}, {**first.held, **last.held})


def _end_at_once(run_id: str, host: str, records: Sequence[ProcessRecord], progress: Callable[[str], None]) -> Ending:
    left = {record.name: record for record in records}
    known: dict[str, list[Stat]] = {}
    asked: set[tuple[int, int]] = set()
    started = time.monotonic()
    killed: set[str] = set()
    stuck: dict[str, str] = {}
    for name in left:
        progress(f"stopping {name}")
    while left:
        for name, record in list(left.items()):
            # Looking at those known is cheap; only when they are gone is all of /proc searched for others.
            alive = [stat for stat in known.get(name, ()) if _runs(stat)]
            alive = alive or members_of(run_id, name, record.pid, record.start_ticks)
            known[name] = alive
            if not alive:
                del left[name]
                continue
            waited = time.monotonic() - started
            if waited > record.grace_s + _KILL_WAIT_S:
                pids = ", ".join(f"{stat.pid} (state {stat.state})" for stat in alive)
                stuck[name] = f"{name} does not end although it was killed: process {pids}."
                del left[name]
            elif waited > record.grace_s:
                if name not in killed:
                    progress(f"killing {name}, which did not end within {record.grace_s:g} s")
                    killed.add(name)
                for stat in members_of(run_id, name, record.pid, record.start_ticks):
                    send_signal(stat, signal.SIGKILL)
            else:
                for stat in alive:
                    if (stat.pid, stat.start_ticks) not in asked:
                        asked.add((stat.pid, stat.start_ticks))
                        send_signal(stat, signal.SIGTERM)
        if left:
            time.sleep(_POLL_S)
    gone = [record for record in records if record.name not in stuck]
    held = {record.name: problem for record in gone if (problem := _wait_for_ports(host, record))}
    return Ending(stuck, held)


def _runs(stat: Stat) -> bool:
    now = read_stat(stat.pid)
    return now is not None and now.alive and now.start_ticks == stat.start_ticks


def _wait_for_ports(host: str, record: ProcessRecord) -> str:
    deadline = time.monotonic() + _PORT_WAIT_S
    for port in record.ports.values():
        while not is_free(host, port):
            if time.monotonic() > deadline:
                return f"Port {port} of {record.name} is held by {port_holder(port)}."
            time.sleep(_POLL_S)
    return ""
