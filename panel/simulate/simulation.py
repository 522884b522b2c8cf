"""A simulated host that is in use: where its files lie, which GPU goes with which NIC, and how its counters move.

It belongs to a state directory: whoever uses that directory finds it there, so that simulated runs never mix with real
ones. Light: runners import it. Made by `prepare`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from ...engine.errors import ConfigError
from ...nic_probe.sources.files import HostFiles

__all__ = [
    "HOST_FOLDER",
    "SIMULATED",
    "Port",
    "Seat",
    "Simulation",
    "read_simulation",
    "simulation_of",
    "write_simulation",
]

SIMULATED = "SIMULATED"
"""The word that stands wherever something of a simulated host is shown."""
HOST_FOLDER = "host"
_FILE = "simulation.json"


@dataclass(frozen=True, slots=True)
class Port:
    """One RDMA port, or an interface, and the files that count its bytes.

    Attributes:
        key: such as mlx5_0:1, or lo.
        tx: path of the file with what was sent, below the host's files.
        rx: the same for what was received.
        factor: bytes of one count.
        line_bytes_per_s: the most that it carries; None where that is not known.
    """

    key: str
    tx: str
    rx: str
    factor: int = 1
    line_bytes_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class Seat:
    """One GPU for one worker: its number, its memory in bytes, and the NICs that are nearest to it."""

    gpu: str
    memory_bytes: float
    nics: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Simulation:
    """One simulated host.

    Attributes:
        name: as --simulate names it.
        title: what it is, one line.
        kv_scale: bytes that its counters count for each byte of KV that moved.
        idle_bytes_per_s: what each RDMA port carries while nothing happens.
        suggestion: prefill and decode workers that the guide offers.
        mark: of the description that it was made from.
        folder: the state directory that it belongs to.
    """

    name: str
    title: str
    kv_scale: float
    idle_bytes_per_s: float
    seats: tuple[Seat, ...]
    ports: tuple[Port, ...]
    suggestion: Mapping[str, int]
    mark: str = ""
    folder: str = ""

    @property
    def root(self) -> Path:
        """The folder that stands for its `/`."""
        return Path(self.folder) / HOST_FOLDER

    @property
    def files(self) -> HostFiles:
        """The host's files, as the probe reads them."""
        return HostFiles(self.root)

    @property
    def lock(self) -> Path:
        """The file that whoever changes counters locks."""
        return Path(self.folder) / "counters.lock"

    @property
    def told(self) -> str:
        """What people have to know of its numbers, in one sentence."""
        return (
            f"{SIMULATED} host {self.name}: nothing was measured on this machine; NIC counters are the engine's KV "
            f"bytes times {self.kv_scale:g}."
        )


def simulation_of(state_dir: Path) -> Simulation | None:
    """Returns the simulated host that a state directory belongs to; None for a real one.

    Raises:
        ConfigError: its note of the host cannot be read.
    """
    return read_simulation(state_dir / _FILE)


def read_simulation(path: Path) -> Simulation | None:
    """Returns what the file at `path` says, None where there is none; raises ConfigError for one that is broken."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Simulation)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, msgspec.MsgspecError):
        remedy = "start `pdpanel --simulate` once more, which writes it anew"
        raise ConfigError("--state-dir", str(path), "cannot be read as a simulated host", remedy) from None
    return replace(found, folder=str(path.parent))


def write_simulation(state_dir: Path, simulation: Simulation) -> None:
    """Writes the note by which `simulation_of` finds the host."""
    scratch = state_dir / f".{_FILE}.new"
    scratch.write_bytes(msgspec.json.encode(replace(simulation, folder="")))
    scratch.replace(state_dir / _FILE)
