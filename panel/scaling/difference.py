"""What has to happen to the processes of a run so that it becomes another plan. Pure.

A process that stays is left alone: what differs for it because others came or went (threads, Mooncake's band of ports)
holds from its next start of the whole run. What it cannot do without, it is restarted for, and that is said.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...engine.errors import ConfigError
from ..launch import LaunchPlan, ProcessSpec, Role
from .roles import SCALABLE
from .router_words import is_told_live, without_workers

__all__ = ["Change", "PlanDifference", "check_same_run", "compare", "settled"]

_SHARED_OUT = frozenset({"OMP_NUM_THREADS", "MC_MIN_RPC_PORT", "MC_MAX_RPC_PORT"})
# The same of arguments: a worker that stays keeps the threads that it has.
_THREADS = "--threads"
_SAME = ("run_name", "host", "dialect", "model", "transport", "prepare", "engine_version", "router_url", "attached")


@dataclass(frozen=True, slots=True)
class Change:
    """A process that stays, and what becomes of it.

    Attributes:
        restart: it has to end and start again; else it goes on, and is told.
        reason: why, one sentence.
    """

    before: ProcessSpec
    after: ProcessSpec
    restart: bool
    reason: str

    @property
    def name(self) -> str:
        """The process."""
        return self.after.name


@dataclass(frozen=True, slots=True)
class PlanDifference:
    """How one plan becomes another.

    Attributes:
        notes: what is not as it would be in a fresh run, one sentence each.
    """

    added: tuple[ProcessSpec, ...]
    removed: tuple[ProcessSpec, ...]
    changed: tuple[Change, ...]
    unchanged: tuple[ProcessSpec, ...]
    notes: tuple[str, ...] = ()

    @property
    def restarts(self) -> tuple[Change, ...]:
        """The processes that stay and have to be restarted."""
        return tuple(change for change in self.changed if change.restart)

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


def settled(old: LaunchPlan, fresh: LaunchPlan) -> LaunchPlan:
    """Returns `fresh` with each process that can stay exactly as it is in `old`."""
    before = {spec.name: spec for spec in old.processes}
    processes = tuple(_settle(before.get(spec.name), spec, old, fresh) for spec in fresh.processes)
    one, two = old.prepare, fresh.prepare
    # The model is there; its preparation has threads as well.
    if one is not None and two is not None and replace(two, env=one.env) == one:
        two = one
    return replace(fresh, processes=processes, prepare=two)


def compare(old: LaunchPlan, new: LaunchPlan) -> PlanDifference:
    """Returns how a run of `old` becomes one of `new`, whose processes are `settled`."""
    before = {spec.name: spec for spec in old.processes}
    names = {spec.name for spec in new.processes}
    kept = [(before[spec.name], spec) for spec in new.processes if spec.name in before]
    changes = {one.name: change for one, two in kept if (change := _change(one, two, old, new)) is not None}
    added = tuple(spec for spec in new.processes if spec.name not in before)
    return PlanDifference(
        added=added,
        removed=tuple(spec for spec in old.processes if spec.name not in names),
        changed=tuple(changes.values()),
        unchanged=tuple(two for one, two in kept if one.name not in changes),
        notes=tuple(_notes(added, [two for one, two in kept if one.role in SCALABLE], new)),
    )


def check_same_run(old: LaunchPlan, new: LaunchPlan, run_id: str) -> PlanDifference:
    """Returns how `old` becomes `new`, both of the run `run_id`.

    Raises:
        ConfigError: `new` is not `old` with more or fewer workers.
    """
    for field in _SAME:
        if getattr(old, field) != getattr(new, field):
            raise _refused(field, getattr(new, field))
    found = compare(old, new)
    for spec in (*found.added, *found.removed):
        if spec.role not in SCALABLE:
            raise _refused(spec.name, spec.role.value)
    running = {spec.role for spec in old.processes}
    for spec in found.added:
        if spec.role not in running or spec.env.get("PDPANEL_RUN_ID") != run_id:
            raise _refused(spec.name, spec.role.value)
    for role in running & set(SCALABLE):
        if not any(spec.role is role for spec in new.processes):
            raise _refused(role.value, 0)
    if settled(old, new) != new:
        raise _refused("processes", len(new.processes))
    return found


def _refused(field: str, value: object) -> ConfigError:
    return ConfigError(f"plan.{field}", value, "is not what more or fewer workers of this run come to", "plan it anew")


def _settle(before: ProcessSpec | None, fresh: ProcessSpec, old: LaunchPlan, new: LaunchPlan) -> ProcessSpec:
    """Returns what a process is in the settled plan: as before when only shared things differ for it."""
    if before is None or _files_of(before, old) != _files_of(fresh, new):
        return fresh
    shared = {name: value for name, value in before.env.items() if name in _SHARED_OUT}
    others = {name: value for name, value in fresh.env.items() if name not in _SHARED_OUT}
    # Whom it waits for matters when all of the run starts, and the plan's order has to hold then.
    argv = _with_threads_of(before.argv, fresh.argv)
    like = replace(fresh, argv=argv, env={**others, **shared}, after=before.after)
    if like == before:
        return replace(before, after=fresh.after)
    return replace(fresh, argv=argv, env={**others, **shared})


def _with_threads_of(before: tuple[str, ...], fresh: tuple[str, ...]) -> tuple[str, ...]:
    """Returns a command with the number of threads that the one before it had."""
    if _THREADS not in before[:-1] or _THREADS not in fresh[:-1]:
        return fresh
    place = fresh.index(_THREADS) + 1
    return (*fresh[:place], before[before.index(_THREADS) + 1], *fresh[place + 1 :])


def _change(before: ProcessSpec, after: ProcessSpec, old: LaunchPlan, new: LaunchPlan) -> Change | None:
    files = _files_of(before, old) != _files_of(after, new)
    if replace(before, after=after.after) == after and not files:
        return None
    if files:
        return Change(before, after, True, "A file that it reads when it starts is another one.")
    as_before = replace(after, argv=before.argv, after=before.after) == before
    if before.role is Role.ROUTER and as_before and without_workers(before.argv) == without_workers(after.argv):
        if is_told_live(after):
            return Change(before, after, False, "It is told of the workers while it runs.")
        return Change(before, after, True, "It learns of workers only when it starts: requests under way fail.")
    return Change(before, after, True, "Its command or its variables differ, which it reads only when it starts.")


def _files_of(spec: ProcessSpec, plan: LaunchPlan) -> dict[str, str]:
    """Returns the plan's files that a process reads, by their paths."""
    words = (*spec.argv, *spec.env.values())
    named = {file.path: file.text for file in plan.files if any(file.path in word for word in words)}
    return named if spec.role not in {Role.PROXY} else {file.path: file.text for file in plan.files}


def _notes(added: tuple[ProcessSpec, ...], kept: list[ProcessSpec], new: LaunchPlan) -> list[str]:
    notes: list[str] = []
    threads = {spec.env.get("OMP_NUM_THREADS") for spec in added} - {None}
    running = {spec.env.get("OMP_NUM_THREADS") for spec in kept} - {None}
    if threads and running and threads != running:
        notes.append(
            f"New workers get {'/'.join(sorted(map(str, threads)))} threads, running ones keep "
            f"{'/'.join(sorted(map(str, running)))} each; start the deployment anew to share the cores evenly."
        )
    if added and not any(spec.role in {Role.ROUTER, Role.PROXY} for spec in new.processes):
        notes.append("The deployment has no router: whoever sends requests has to learn of the new workers.")
    return notes
