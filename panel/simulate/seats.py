"""Which simulated GPU and NICs each worker of a plan is shown with. Pure.

The bundled engine computes on the CPU: nothing of its commands changes but the number of threads, so that many workers
fit on a laptop. Called when a run is planned.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from ...engine.errors import ConfigError
from ..launch import LaunchPlan, ProcessSpec, Role
from .simulation import Simulation

__all__ = ["refuse_other_engines", "seated"]

_ORDER = (Role.PREFILL, Role.DECODE, Role.UNIFIED)
_ENGINE = "bundled"
# What travels over a socket names no RDMA device.
_WITHOUT_NICS = frozenset({"mooncake_tcp", "shm", "tcp"})
_THREADS = "OMP_NUM_THREADS"


def refuse_other_engines(plan: LaunchPlan, simulation: Simulation) -> None:
    """Raises ConfigError for a plan whose engine needs real GPUs; attached runs and plans to read are not its business.

    Args:
        plan: what would be started.
        simulation: the host.
    """
    if plan.dialect != _ENGINE:
        problem = f"cannot be started on the SIMULATED host {simulation.name}, which starts only the bundled engine"
        remedy = "take engine: bundled to start it here, or export the plan, which is real, and start it elsewhere"
        raise ConfigError("engine", plan.dialect, problem, remedy)


def seated(plan: LaunchPlan, simulation: Simulation, taken: Collection[str] = ()) -> LaunchPlan:
    """Returns the plan with a GPU and its nearest NICs for each worker, one thread each; others' as they are.

    Args:
        plan: of the bundled engine; those of others have their places already.
        simulation: the host.
        taken: GPUs of other runs.

    Raises:
        ConfigError: fewer GPUs are free than there are workers.
    """
    if plan.dialect != _ENGINE:
        return replace(plan, simulated=True)
    workers = [spec for role in _ORDER for spec in plan.processes if spec.role is role]
    free = [seat for seat in simulation.seats if seat.gpu not in taken]
    if len(workers) > len(free):
        problem = f"come to {len(workers)} workers, and {len(free)} of {len(simulation.seats)} simulated GPUs are free"
        remedy = "ask for fewer workers" + (", or stop a run" if taken else "")
        raise ConfigError("workers", len(workers), problem, remedy)
    chosen = dict(zip((spec.name for spec in workers), free, strict=False))

    def placed(spec: ProcessSpec) -> ProcessSpec:
        env = {**spec.env, _THREADS: "1"} if _THREADS in spec.env else spec.env
        seat = chosen.get(spec.name)
        if seat is None:
            return replace(spec, env=env)
        moves = spec.role is not Role.UNIFIED and plan.transport not in _WITHOUT_NICS
        nics = (spec.nics or seat.nics) if moves else ()
        return replace(spec, env=env, gpus=(seat.gpu,), nics=nics)

    return replace(plan, processes=tuple(placed(spec) for spec in plan.processes), simulated=True)
