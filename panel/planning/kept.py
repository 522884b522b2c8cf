"""What a new plan has to leave as it is: ports, GPUs and hosts of processes that go on running. Pure.

Read from the running plan by name, so that a worker keeps its places whatever is planned around it. `panel.scaling`
makes it; seats, ports and bands ask.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ..launch import ProcessSpec

__all__ = ["Kept", "kept_of"]

# A process's port by the purpose that it has in a plan, and what planning calls it.
_KINDS = {"side-channel": "kv", "handshake": "kv"}


@dataclass(frozen=True, slots=True)
class Kept:
    """The places of processes that go on.

    Attributes:
        ports: by process and kind of port, as planning calls it: http, bootstrap, kv, dist, metrics, peer.
        gpus: by process, where it has any.
        nodes: by process.
        band: Mooncake's RPC ports, when all of them have the same.
    """

    ports: Mapping[tuple[str, str], int] = field(default_factory=dict)
    gpus: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    nodes: Mapping[str, str] = field(default_factory=dict)
    band: tuple[int, int] | None = None

    def port(self, name: str, kind: str) -> int | None:
        """Returns the port of this kind that the process `name` has, None when it has none to keep."""
        return self.ports.get((name, kind))


def kept_of(processes: Iterable[ProcessSpec]) -> Kept:
    """Returns the places of `processes`."""
    every = list(processes)
    ports = {(spec.name, _KINDS.get(kind, kind)): port for spec in every for kind, port in spec.ports.items()}
    gpus = {spec.name: tuple(int(gpu) for gpu in spec.gpus) for spec in every if spec.gpus and _are_numbers(spec.gpus)}
    bands = {band for spec in every if (band := _band(spec.env)) is not None}
    return Kept(ports, gpus, {spec.name: spec.node for spec in every}, bands.pop() if len(bands) == 1 else None)


def _are_numbers(gpus: tuple[str, ...]) -> bool:
    return all(gpu.isascii() and gpu.isdigit() for gpu in gpus)


def _band(env: Mapping[str, str]) -> tuple[int, int] | None:
    low, high = env.get("MC_MIN_RPC_PORT", ""), env.get("MC_MAX_RPC_PORT", "")
    return (int(low), int(high)) if low.isdigit() and high.isdigit() else None
