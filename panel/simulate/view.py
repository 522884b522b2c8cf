"""A simulated host as the page tells of it, and where the workers of its plans are shown. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..launch import LaunchPlan
from .simulation import Simulation

__all__ = ["SimulatedHost", "places_of", "simulated_host"]


@dataclass(frozen=True, slots=True)
class SimulatedHost:
    """The host that the panel runs on when that is made up.

    Attributes:
        name: as --simulate names it.
        title: what it is, one line.
        told: what people have to know of its numbers, in one sentence.
        gpus: how many it has.
        prefill: prefill workers of the deployment that is suggested.
        decode: the same of decode.
        placed: where those would be shown, in a few words.
    """

    name: str
    title: str
    told: str
    gpus: int
    prefill: int
    decode: int
    placed: str


def simulated_host(simulation: Simulation) -> SimulatedHost:
    """Returns what the page tells; the suggestion never asks for more GPUs than there are."""
    gpus = len(simulation.seats)
    prefill = max(1, min(simulation.suggestion.get("prefill", 1), gpus - 1))
    decode = max(1, min(simulation.suggestion.get("decode", 1), gpus - prefill))
    used = simulation.seats[: prefill + decode]
    nics = list(dict.fromkeys(nic for seat in used for nic in seat.nics))
    placed = (
        f"{_several('GPU', [seat.gpu for seat in used])} with {_several('', nics) or 'no NIC'}" if used else "no GPU"
    )
    return SimulatedHost(simulation.name, simulation.title, simulation.told, gpus, prefill, decode, placed)


def places_of(plan: LaunchPlan) -> dict[str, str]:
    """Returns by process where it is shown, such as `GPU 0, mlx5_0`; those without a device are left out."""
    parts = {
        spec.name: ", ".join([*([_several("GPU", list(spec.gpus))] if spec.gpus else []), *spec.nics])
        for spec in plan.processes
    }
    return {name: part for name, part in parts.items() if part}


def _several(word: str, names: Sequence[str]) -> str:
    shown = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}" if names else ""
    return f"{word}{'s' if len(names) > 1 else ''} {shown}" if word else shown
