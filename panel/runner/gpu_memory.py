"""Who holds memory of which GPU, in the words of the GPU libraries that `nic_probe` asks.

They are asked in a process of its own and only when a run has GPUs, so a runner never loads a driver's library.
Decides nothing; `runner.reaper` asks when it ends processes.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["GpuHolding", "gpu_holdings", "told_holdings"]

_MEBI = 1 << 20


@dataclass(frozen=True, slots=True)
class GpuHolding:
    """A process that holds memory of a GPU.

    Attributes:
        names: what a plan may call the GPU: its number, UUID or PCI address.
        gpu: the GPU for people.
        command: the process's name, empty when it is hidden.
        owner: the user who runs it, empty when that is hidden.
        bytes: what it holds; None when it is not known.
    """

    names: frozenset[str]
    gpu: str
    pid: int
    command: str
    owner: str
    bytes: int | None


def gpu_holdings(environ: Mapping[str, str] | None = None) -> tuple[GpuHolding, ...]:
    """Returns who holds GPU memory on this host; none where no library of a GPU answers.

    Args:
        environ: the whole environment in which the libraries are asked; this process's own by default.
    """
    # Only here: most runs have no GPU, and their runners stay small.
    from ...nic_probe.gpus.answers import read_answers
    from ...nic_probe.gpus.libraries import gpu_facts
    from ..config import inherited_environment

    found: list[GpuHolding] = []
    answers = read_answers(gpu_facts(inherited_environment() if environ is None else environ))
    for gpu in answers.gpus.values():
        index, uuid = gpu.readings["index"].value, gpu.readings["uuid"].value
        names = frozenset(str(name) for name in (index, uuid, gpu.pci) if name is not None)
        for process in gpu.readings["processes"].value or ():
            command, held = process.name.value or "", process.memory_bytes.value
            shown = f"GPU {gpu.pci if index is None else index}"
            found.append(GpuHolding(names, shown, process.pid, command, _owner(process.pid), held))
    return tuple(found)


def told_holdings(holdings: Sequence[GpuHolding], ours: Collection[int]) -> tuple[str, ...]:
    """Returns one sentence per holding; `ours` are the pids of the run's own processes."""
    return tuple(_told(holding, holding.pid in ours) for holding in holdings)


def _told(holding: GpuHolding, ours: bool) -> str:
    about = [holding.command or "name hidden", f"of {holding.owner}" if holding.owner else "owner hidden"]
    memory = "memory" if holding.bytes is None else f"{holding.bytes / _MEBI:.0f} MiB"
    end = "although it has ended." if ours else "and is not part of this run."
    return f"Process {holding.pid} ({', '.join(about)}) holds {memory} of {holding.gpu}, {end}"


def _owner(pid: int) -> str:
    try:
        uid = os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return ""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
