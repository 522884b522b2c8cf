"""The plan of a running deployment with another number of workers, in which all that stays keeps its places. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from ...engine.errors import ConfigError
from ..deployment import Deployment
from ..host_facts import HostFacts
from ..launch import LaunchPlan, ProcessSpec, Role
from ..plan import RunIds, plan
from ..planning.kept import Kept, kept_of
from ..planning.node_facts import Nodes
from .difference import settled
from .roles import SCALABLE
from .scaled import counts_of

__all__ = ["Planner", "own_ports", "replanned"]

Planner = Callable[[Deployment, HostFacts, RunIds, Nodes, Kept | None], LaunchPlan]


def own_ports(launch: LaunchPlan) -> frozenset[int]:
    """Returns the ports of a plan's processes, Mooncake's band included: in use, but not by others."""
    ports = {port for spec in launch.processes for port in spec.ports.values()}
    bands = {band for spec in launch.processes if (band := kept_of([spec]).band) is not None}
    return frozenset(ports.union(*(range(low, high + 1) for low, high in bands)))


def replanned(
    old: LaunchPlan,
    wanted: Deployment,
    host: HostFacts,
    ids: RunIds,
    nodes: Nodes | None = None,
    planner: Planner = plan,
) -> LaunchPlan:
    """Returns the plan of `wanted`, which is the deployment of `old` with other numbers of workers.

    Args:
        old: what runs.
        wanted: see `scaled`.
        host: this host; the ports of `old` need not be left out of those in use.
        ids: of the run.
        nodes: as for `plan`.
        planner: makes the plan.

    Raises:
        ConfigError: the run cannot be scaled, or hosts or GPUs do not suffice.
        CapacityError: no port of a band is free.
    """
    if old.attached:
        raise ConfigError("run", ids.run_id, "was not started here", "scale it where it was started")
    if any(spec.role is Role.SUBMIT for spec in old.processes):
        raise ConfigError("run", ids.run_id, "is a job of Slurm, whose nodes are given once", "submit another job")
    deployment = wanted.model_copy(update={"model": old.model})
    kept = kept_of(_staying(old.processes, counts_of(wanted)))
    here = replace(host, taken=host.taken - own_ports(old))
    return settled(old, planner(deployment, here, ids, nodes or {}, _usable(kept)))


def _staying(processes: Iterable[ProcessSpec], counts: dict[Role, int]) -> list[ProcessSpec]:
    """Returns the processes that go on: of a role's workers those with the lowest numbers."""
    return [spec for spec in processes if spec.role not in SCALABLE or _number(spec) < counts.get(spec.role, 0)]


def _number(spec: ProcessSpec) -> int:
    """Returns the number in a worker's name, such as 1 of prefill-1-rank0."""
    text = spec.name.removeprefix(f"{spec.role.value}-").partition("-")[0]
    return int(text) if text.isascii() and text.isdigit() else 0


def _usable(kept: Kept) -> Kept:
    # A GPU that is named twice, by hand or by an older plan, cannot be given twice here.
    given: set[int] = set()
    gpus: dict[str, tuple[int, ...]] = {}
    for name, own in kept.gpus.items():
        if not given & set(own) or len({kept.nodes[each] for each in (*gpus, name)}) > 1:
            gpus[name] = own
            given.update(own)
    return replace(kept, gpus=gpus)
