"""Which host and which GPUs each process of a worker gets. Pure.

Roles with GPUs of their own (`gpus`, `base_gpu_id`) are seated first, so that the others find what is left; then
prefill, decode, unified and encoders, so that the first GPUs of a node are prefill's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from ...engine.errors import ConfigError
from ..deployment import Deployment
from ..deployment_parts import RoleSpec
from ..dialects.dialect import Dialect
from ..launch import Role
from . import seat_errors
from .gpu_count import check_division, gpus_of_process
from .hosts import HostTable
from .kept import Kept
from .machines import Machine, Machines

__all__ = ["MOST_ON_ONE_HOST", "MOST_PROCESSES", "ROLES", "Seat", "Seating", "seat_workers"]

ROLES = (Role.PREFILL, Role.DECODE, Role.UNIFIED, Role.ENCODER)

MOST_PROCESSES = 4096
"""512 nodes of 8 GPUs with a worker on each GPU."""


MOST_ON_ONE_HOST = 64
"""Workers of one role where no host is named: each is a process with weights of its own."""


@dataclass(frozen=True, slots=True)
class Seat:
    """One process of a worker on its node; `gpus` is empty where the deployment leaves them open."""

    node: str
    gpus: tuple[int, ...]


Seating = Mapping[Role, tuple[tuple[Seat, ...], ...]]
"""By role, for each worker the seats of its ranks."""


def seat_workers(
    deployment: Deployment, dialect: Dialect, hosts: HostTable, machines: Machines, kept: Kept | None = None
) -> Seating:
    """Returns the seats of all workers; running ones keep theirs.

    Raises:
        ConfigError: hosts or GPUs do not suffice, or two roles want the same ones.
    """
    specs = {role: deployment.settings(role.value) for role in ROLES}
    _check_number(specs)
    _check_one_host(specs)
    chosen = [role for role in ROLES if specs[role].gpus is not None or specs[role].base_gpu_id is not None]
    selection = deployment.gpu_selection or dialect.gpu_selection
    shares = dialect.shares_gpus and deployment.gpu_selection is None
    kept = kept or Kept()
    if kept.gpus:  # A machine is known by the name that the deployment gives it, before a plan's own word for it.
        for role in (role for role in ROLES if specs[role].count):
            for node in hosts.of_role(role):
                machines.of(node)
    for owner, gpus in kept.gpus.items():
        machines.of(kept.nodes[owner]).gpus.give(gpus, owner)
    seating = {
        role: _RoleSeats(deployment, role, specs[role], selection, shares, hosts.of_role(role), machines, kept).all()
        for role in (*chosen, *(role for role in ROLES if role not in chosen))
        if specs[role].count
    }
    return {role: seating[role] for role in ROLES if role in seating}


def _check_number(specs: Mapping[Role, RoleSpec]) -> None:
    numbers = {role: spec.count * spec.nodes for role, spec in specs.items()}
    if sum(numbers.values()) <= MOST_PROCESSES:
        return
    role = max(numbers, key=lambda each: numbers[each])
    problem = f"comes to {sum(numbers.values())} processes of workers in all"
    remedy = f"write fewer: a deployment has {MOST_PROCESSES} at most"
    raise ConfigError(f"{role.value}.count", specs[role].count, problem, remedy)


def _check_one_host(specs: Mapping[Role, RoleSpec]) -> None:
    for role, spec in specs.items():
        if not spec.hosts and spec.count > MOST_ON_ONE_HOST:
            problem = f"is more than {MOST_ON_ONE_HOST} workers on one host"
            raise ConfigError(f"{role.value}.count", spec.count, problem, f"name hosts in {role.value}.hosts")


class _RoleSeats:
    """Seats the workers of one role: the hosts in turn, those without room left out."""

    def __init__(
        self,
        deployment: Deployment,
        role: Role,
        spec: RoleSpec,
        selection: str,
        shares: bool,
        hosts: tuple[str, ...],
        machines: Machines,
        kept: Kept,
    ) -> None:
        self._kept = kept
        self._deployment = deployment
        self._role = role
        self._spec = spec
        self._selection = selection
        self._shares = shares
        self._hosts = hosts
        self._machines = machines
        self._wanted = gpus_of_process(spec)
        self._seated: dict[str, int] = {}

    def all(self) -> tuple[tuple[Seat, ...], ...]:
        spec, role = self._spec, self._role.value
        check_division(spec, role)
        if spec.nodes > len(self._hosts):
            problem = f"is more than the {len(self._hosts) if spec.hosts else 0} hosts of the role"
            raise ConfigError(f"{role}.nodes", spec.nodes, problem, f"name {spec.nodes} hosts in {role}.hosts")
        totals = {node: self._machines.of(node).gpus.total for node in self._hosts}
        for node, total in totals.items():
            # Ranks that share GPUs may as well have none, and so may a worker that takes one: the bundled engine
            # runs on CPUs.
            needed = not self._shares and (self._wanted > 1 or self._selection != "none")
            if needed and total is not None and total < self._wanted:
                if all(each is not None and each < self._wanted for each in totals.values()):
                    raise seat_errors.too_large(self._deployment, self._role, node, total)
        turn = deque(self._hosts)
        return tuple(self._worker(index, turn) for index in range(spec.count))

    def _worker(self, index: int, turn: deque[str]) -> tuple[Seat, ...]:
        seats: list[Seat] = []
        while len(seats) < self._spec.nodes:
            if not turn:
                left = {node: self._machines.of(node).gpus for node in self._hosts}
                raise seat_errors.no_room(self._deployment, self._role, index, self._wanted, left)
            owner = self._name(index, len(seats))
            node = self._next(turn, owner)
            gpus = self._gpus(self._machines.of(node), node, owner)
            if gpus is not None:
                seats.append(Seat(node, gpus))
        turn.extend(seat.node for seat in seats)
        return tuple(seats)

    def _next(self, turn: deque[str], owner: str) -> str:
        """Returns the host whose turn it is: the one that a running process is on."""
        there = self._kept.nodes.get(owner)
        if there is not None:
            for node in turn:
                if self._machines.of(node) is self._machines.of(there):
                    turn.remove(node)
                    return node
        return turn.popleft()

    def _name(self, index: int, rank: int) -> str:
        return f"{self._role.value}-{index}" + (f"-rank{rank}" if rank else "")

    def _gpus(self, machine: Machine, node: str, owner: str) -> tuple[int, ...] | None:
        """Returns the GPUs of a process on `node`, None when it has no room."""
        pool, spec = machine.gpus, self._spec
        gpus = self._kept.gpus.get(owner)
        if self._shares:
            if gpus is None:
                pool.give(gpus := pool.least_used(self._wanted), owner)
            return gpus
        if self._selection == "none":
            return ()
        if gpus is not None:
            self._seated[node] = self._seated.get(node, 0) + 1
            return gpus
        if spec.base_gpu_id is not None:
            gpus = self._counted(machine, node, owner, spec.base_gpu_id)
        elif spec.gpus is not None:
            self._check_listed(machine, node, spec.gpus)
            gpus = pool.among(spec.gpus, self._wanted, side_by_side=self._selection == "base-gpu-id")
        elif self._selection == "base-gpu-id":
            gpus = pool.neighbours(self._wanted)
        else:
            gpus = pool.neighbours(self._wanted) or pool.any_free(self._wanted)
        if gpus is not None:
            pool.give(gpus, owner)
            self._seated[node] = self._seated.get(node, 0) + 1
        return gpus

    def _counted(self, machine: Machine, node: str, owner: str, base: int) -> tuple[int, ...] | None:
        first = base + self._seated.get(node, 0) * self._wanted
        gpus = tuple(range(first, first + self._wanted))
        field = f"{self._role.value}.base_gpu_id"
        if not machine.gpus.exists(gpus):
            if self._seated.get(node, 0):
                return None
            raise seat_errors.beyond(field, base, owner, gpus, node, machine.gpus.total or 0)
        if self._spec.gpus is not None and not set(gpus) <= set(self._spec.gpus):
            return None
        other = machine.gpus.owner(gpus)
        if other is not None:
            raise seat_errors.overlap(field, base, owner, gpus, other, node)
        return gpus

    def _check_listed(self, machine: Machine, node: str, listed: list[int]) -> None:
        field = f"{self._role.value}.gpus"
        if len(set(listed)) < len(listed):
            raise ConfigError(field, listed, "names a GPU twice", "name each GPU once")
        missing = [gpu for gpu in listed if not machine.gpus.exists((gpu,))]
        if missing:
            raise seat_errors.unknown_gpu(field, missing[0], node, machine.gpus.total or 0)
