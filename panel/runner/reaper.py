"""Ends processes for good: the whole group, children that left it, their ports and their GPU memory.

The one stop of the panel: the runner calls it for its children, `panel.unsupervised` for a run whose runner is gone.
Works from records alone and blocks, so an event loop calls it in a thread. It never waits for (reaps) a
child: a zombie has ended. Who is not of the run is named, never ended.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ..launch import Role
from ..ports import is_free, port_holder
from .gpu_memory import GpuHolding, gpu_holdings, told_holdings
from .procfs import Stat, members_of, read_stat, send_signal
from .state import ProcessRecord

__all__ = ["Ending", "GpuLook", "end_processes"]

_POLL_S = 0.02
_KILL_WAIT_S = 10.0
_PORT_WAIT_S = 3.0
_GPU_WAIT_S = 10.0
_GPU_POLL_S = 0.3
_SERVERS = frozenset({Role.METADATA, Role.STORE})

GpuLook = Callable[[], Sequence[GpuHolding]]


@dataclass(frozen=True, slots=True)
class Ending:
    """How it went, in sentences by process name; all are empty when all is well.

    Attributes:
        stuck: processes that did not end although they were killed.
        held: ports that somebody else holds although the process is gone.
        gpus: what still holds memory of their GPUs, by whatever is said.
    """

    stuck: Mapping[str, str]
    held: Mapping[str, str]
    gpus: tuple[str, ...] = ()

    @property
    def notice(self) -> str:
        """Everything that went wrong in one line."""
        return " ".join((*self.stuck.values(), *self.held.values(), *self.gpus))


@dataclass(slots=True)
class _Group:
    """A process that is being ended, with whoever belongs to it."""

    record: ProcessRecord
    alive: list[Stat] = field(default_factory=list)
    told: bool = False

    def look(self) -> None:
        self.alive = [stat for stat in self.alive if _runs(stat)]


def end_processes(
    run_id: str,
    host: str,
    records: Sequence[ProcessRecord],
    progress: Callable[[str], None] = lambda line: None,
    look: GpuLook = gpu_holdings,
) -> Ending:
    """Ends all `records`: SIGTERM, each one's grace, SIGKILL; waits for groups, ports and GPU memory.

    All at once, but servers that others say goodbye to come last: an engine of Mooncake whose metadata server is gone
    waits 5 s for it, twice, before it ends.

    Args:
        run_id: the run that they belong to.
        host: the address that their ports belong to.
        records: who is to end.
        progress: takes what is going on, for people.
        look: tells who holds memory of which GPU; asked only where a record has GPUs.
    """
    ended: set[int] = set()
    servers = [record for record in records if record.role in _SERVERS]
    others = [record for record in records if record.role not in _SERVERS]
    stuck = _end_at_once(run_id, others, progress, ended) | _end_at_once(run_id, servers, progress, ended)
    gone = [record for record in records if record.name not in stuck]
    held = _wait_for_ports(host, gone)
    return Ending(stuck, held, _wait_for_gpus(gone, ended, progress, look))


def _end_at_once(
    run_id: str, records: Iterable[ProcessRecord], progress: Callable[[str], None], ended: set[int]
) -> dict[str, str]:
    """Returns what does not end, by name; adds to `ended` whoever was there."""
    left = {record.name: _Group(record) for record in records}
    asked: set[tuple[int, int]] = set()
    started = time.monotonic()
    stuck: dict[str, str] = {}
    for name in left:
        progress(f"stopping {name}")
    while left:
        _look(run_id, left)
        waited = time.monotonic() - started
        for name, group in list(left.items()):
            ended.update(stat.pid for stat in group.alive)
            grace_s = group.record.grace_s
            if not group.alive:
                del left[name]
            elif waited > grace_s + _KILL_WAIT_S:
                pids = ", ".join(f"{stat.pid} (state {stat.state})" for stat in group.alive)
                stuck[name] = f"{name} does not end although it was killed: process {pids}."
                del left[name]
            elif waited > grace_s:
                if not group.told:
                    progress(f"killing {name}, which did not end within {grace_s:g} s")
                    group.told = True
                    group.alive = members_of(run_id, _leaders([group]))[name]
                for stat in group.alive:
                    send_signal(stat, signal.SIGKILL)
            else:
                for stat in group.alive:
                    if (stat.pid, stat.start_ticks) not in asked:
                        asked.add((stat.pid, stat.start_ticks))
                        send_signal(stat, signal.SIGTERM)
        if left:
            time.sleep(_POLL_S)
    return stuck


def _look(run_id: str, groups: Mapping[str, _Group]) -> None:
    # Looking at those known is cheap; only when they are gone is all of /proc searched for others, once for all.
    for group in groups.values():
        group.look()
    unseen = [group for group in groups.values() if not group.alive]
    if unseen:
        found = members_of(run_id, _leaders(unseen))
        for group in unseen:
            group.alive = found[group.record.name]


def _leaders(groups: Iterable[_Group]) -> dict[str, tuple[int | None, int | None]]:
    return {group.record.name: (group.record.pid, group.record.start_ticks) for group in groups}


def _runs(stat: Stat) -> bool:
    now = read_stat(stat.pid)
    return now is not None and now.alive and now.start_ticks == stat.start_ticks


def _wait_for_ports(host: str, records: Iterable[ProcessRecord]) -> dict[str, str]:
    deadline = time.monotonic() + _PORT_WAIT_S
    held: dict[str, str] = {}
    for record in records:
        for port in record.ports.values():
            while not (free := is_free(host, port)) and time.monotonic() < deadline:
                time.sleep(_POLL_S)
            if not free:
                held[record.name] = f"Port {port} of {record.name} is held by {port_holder(port)}."
                break
    return held


def _wait_for_gpus(
    records: Iterable[ProcessRecord], ended: set[int], progress: Callable[[str], None], look: GpuLook
) -> tuple[str, ...]:
    """Waits until none of those that ended is listed as a holder of GPU memory; returns what is left of anybody."""
    gpus = frozenset(gpu for record in records for gpu in record.gpus)
    if not gpus:
        return ()
    deadline = time.monotonic() + _GPU_WAIT_S
    said = False
    while True:
        held = [holding for holding in look() if gpus & holding.names or holding.pid in ended]
        if not any(holding.pid in ended for holding in held) or time.monotonic() > deadline:
            return told_holdings(held, ended)
        if not said:
            progress("waiting for the GPUs' memory")
            said = True
        time.sleep(_GPU_POLL_S)
