"""Whether the host has room for the workers that a change adds: cores, memory, GPUs, as values and findings. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ...nic_probe.checks.check import Rule
from ...nic_probe.finding import Evidence, Finding, Severity
from ..launch import Role
from .difference import PlanDifference

__all__ = ["RULES", "Room", "findings_of", "room_of"]

_MEMORY = Rule(
    "scale-memory-short",
    "No memory for another worker",
    "A worker that is added takes about what its fellows of the same role take now. When that is more than the memory "
    "that is available, the kernel ends a process, perhaps one that works.",
    ("man 5 proc",),
)
_CORES = Rule(
    "scale-cores-shared",
    "More workers than cores",
    "Workers of the bundled engine compute on the CPU. With more of them than cores they take turns, and each one more "
    "adds nothing to the throughput.",
    ("docs/architecture.md",),
)
RULES = (_MEMORY, _CORES)


@dataclass(frozen=True, slots=True)
class Room:
    """What the host has and what the change needs; None is not known.

    Attributes:
        cores: that the run may use.
        workers: that there will be.
        available_bytes: memory that could be had now.
        needed_bytes: what the added workers will take, less what the removed ones give back.
        gpus: that the added workers get.
    """

    cores: int
    workers: int
    available_bytes: int | None
    needed_bytes: int | None
    gpus: tuple[str, ...] = ()


def room_of(
    difference: PlanDifference, workers: int, used: Mapping[Role, int], cores: int, available: int | None
) -> Room:
    """Returns the room for a change.

    Args:
        difference: the change.
        workers: how many there will be.
        used: bytes that a worker of each role takes now, where one runs.
        cores: that the run may use.
        available: memory that could be had now, in bytes.
    """
    roles = [spec.role for spec in difference.added]
    needed = sum(used[role] for role in roles) if all(role in used for role in roles) else None
    if needed is not None:
        needed -= sum(used.get(spec.role, 0) for spec in difference.removed)
    gpus = tuple(gpu for spec in difference.added for gpu in spec.gpus)
    return Room(cores, workers, available, needed, gpus)


def findings_of(room: Room, *, on_cpu: bool) -> Iterator[Finding]:
    """Yields what speaks against a change; `on_cpu` says that its workers compute on cores."""
    short = room.needed_bytes is not None and room.available_bytes is not None
    if short and (room.needed_bytes or 0) > (room.available_bytes or 0):
        evidence = (
            Evidence("/proc/meminfo", f"{(room.available_bytes or 0) / 1e9:.1f} GB available"),
            Evidence("the run's workers", f"{(room.needed_bytes or 0) / 1e9:.1f} GB more"),
        )
        reason = "The host has less memory available than the added workers will take."
        yield _MEMORY.finding(Severity.WARNING, "memory", evidence, reason, "Add fewer workers, or free memory first.")
    if on_cpu and room.cores and room.workers > room.cores:
        evidence = (Evidence("cores", str(room.cores)), Evidence("workers", str(room.workers)))
        reason = f"{room.workers} workers share {room.cores} cores and take turns."
        yield _CORES.finding(Severity.WARNING, "cores", evidence, reason, "Keep the number of workers below that.")
