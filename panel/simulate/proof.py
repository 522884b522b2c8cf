"""Proof of transport on a simulated host: the same measurement over made-up counters, and a sentence that says so.

Called by the web part and the command line, which take `prover` for the run's own state directory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ...engine.errors import ConflictError
from ..attach.key_file import NO_KEY, AttachKey
from ..launch import LaunchPlan
from ..proof.host_counters import HostCounters
from ..proof.proof import Proof
from ..proof.prove import Measures, Tell, prove
from ..proof.traffic import EngineBytes, Requests
from .simulation import SIMULATED, Simulation

__all__ = ["prover"]

Prove = Callable[[str, LaunchPlan, Tell], Proof]


def prover(simulation: Simulation | None, key_of: Callable[[str], AttachKey] = lambda run_id: NO_KEY) -> Prove:
    """Returns what proves the transport of a run: on this host, or on the simulated one that its run is of.

    Args:
        simulation: None for this host.
        key_of: gives the key of a run's own API, by the run's id.
    """
    if simulation is None:
        return lambda run_id, plan, tell: prove(run_id, plan, tell, headers=key_of(run_id).headers)
    return lambda run_id, plan, tell: _proved(simulation, run_id, plan, tell)


class _ScaledBytes:
    """What the engine says that it moved, in the measure of the simulated counters."""

    def __init__(self, plan: LaunchPlan, scale: float) -> None:
        self._engine = EngineBytes(plan)
        self._scale = scale
        self.source = f"{SIMULATED}: {self._engine.source}, times {scale:g} as the counters of this host"

    def read(self) -> float | None:
        total = self._engine.read()
        return None if total is None else total * self._scale


def _proved(simulation: Simulation, run_id: str, plan: LaunchPlan, tell: Tell) -> Proof:
    if plan.attached:
        problem = "was not started on this simulated host, whose counters say nothing of it"
        raise ConflictError("run", run_id, problem, "prove it with a panel without --simulate")
    counters = HostCounters(simulation.files)
    measures = Measures(counters, _ScaledBytes(plan, simulation.kv_scale), Requests(plan))
    proof = prove(run_id, plan, lambda text, share: tell(f"{SIMULATED}: {text}", share), measures)
    verdict = replace(proof.verdict, sentence=f"{SIMULATED}: {proof.verdict.sentence}")
    return replace(proof, verdict=verdict)
