"""What a runner samples on a simulated host in place of drivers: GPU values, and the traffic that its own engine makes.

GPU values follow the processes that would compute there; the counters of NICs follow the KV bytes that the workers say
they have sent. Called by the runner's `sources_of`, in threads of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from ..launch import LaunchPlan, Role
from ..proof.traffic import EngineBytes
from .simulation import Simulation
from .ticker import Ticker

__all__ = ["EngineTraffic", "SimulatedGpus"]

_PERIOD_S: Final = 0.5
_CORE_PERCENT: Final = 100.0
# What a driver keeps for itself, and the share of the rest that an engine takes when its weights are loaded.
_DRIVER_BYTES: Final = 600 << 20
_ENGINE_SHARE: Final = 0.85


class SimulatedGpus:
    """The GPUs of a plan: as busy as the one core of their worker, as full as an engine fills them.

    Args:
        plan: of the run.
        simulation: the host.
        latest: returns the values of the last row.
    """

    name = "GPUs"
    period_s = _PERIOD_S

    def __init__(self, plan: LaunchPlan, simulation: Simulation, latest: Callable[[], Mapping[str, float]]) -> None:
        memory = {seat.gpu: seat.memory_bytes for seat in simulation.seats}
        self._gpus = [(gpu, memory.get(gpu, 0.0), spec.name) for spec in plan.processes for gpu in spec.gpus]
        self._latest = latest

    def read(self) -> Mapping[str, float]:
        """Returns percent busy and bytes in use."""
        now = self._latest()
        values: dict[str, float] = {}
        for gpu, memory, name in self._gpus:
            busy, lives = now.get(f"proc/{name}/cpu_percent", 0.0), f"proc/{name}/rss_bytes" in now
            values[f"gpu/{gpu}/util_percent"] = min(_CORE_PERCENT, busy)
            if memory:
                values[f"gpu/{gpu}/memory_bytes"] = _DRIVER_BYTES + (_ENGINE_SHARE * memory if lives else 0.0)
        return values

    def close(self) -> None:
        """Holds nothing."""


class EngineTraffic:
    """Makes the counters of the host follow what the prefill workers of a plan send; gives no values itself.

    Args:
        plan: of the run.
        simulation: the host.
        engine: says what has been sent; the workers' own metrics unless a test says otherwise.
        ticker: writes; one of its own unless a test gives one.
    """

    name = "counters of the simulated host"
    period_s = _PERIOD_S / 2

    def __init__(
        self,
        plan: LaunchPlan,
        simulation: Simulation,
        engine: Callable[[], Mapping[tuple[str, str], float]] | None = None,
        ticker: Ticker | None = None,
    ) -> None:
        self._engine = engine or EngineBytes(plan).by_peer
        self._ticker = ticker or Ticker(simulation)
        self._nics = {spec.name: spec.nics for spec in plan.processes}
        self._by_port = {str(spec.ports["http"]): spec.name for spec in plan.processes if "http" in spec.ports}
        decoders = [spec.name for spec in plan.processes if spec.role is Role.DECODE]
        self._receiver = decoders[0] if decoders else ""
        self._counts = plan.transport != "shm"  # memory is no link
        self._before: dict[tuple[str, str], float] | None = None

    def read(self) -> Mapping[str, float]:
        """Counts what was sent since the last call."""
        totals = self._engine() if self._counts else {}
        if self._before is None:
            # A runner that takes a run over finds what was counted before; of a fresh run nobody has sent anything.
            self._before = dict(totals)
        for (sender, peer), total in totals.items():
            known = self._before.get((sender, peer), 0.0)
            # A worker that was started again counts from 0.
            moved = total - known if total >= known else total
            self._before[sender, peer] = total
            if moved > 0:
                receiver = self._by_port.get(peer.rpartition(":")[2], self._receiver)
                self._ticker.send(self._nics.get(sender, ()), self._nics.get(receiver, ()), moved)
        self._ticker.tick()
        return {}

    def close(self) -> None:
        """Holds nothing."""
