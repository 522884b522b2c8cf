"""A change of a run's workers as JSON for the browser and for `--json`, and the numbers that come in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..doctor_text import finding_json
from ..launch import Role
from .room import Room

if TYPE_CHECKING:  # The shell of real runs, which a simulated one does not need.
    from .run_scaling import ScalePreview

__all__ = ["counts_by_role", "preview_json", "room_sentences"]


def counts_by_role(counts: Mapping[str, int]) -> dict[Role, int]:
    """Returns the numbers with the roles that they are for; every key is the name of one."""
    return {Role(role): count for role, count in counts.items()}


def preview_json(shown: ScalePreview) -> dict[str, Any]:
    """Returns a preview as plain values; see `web.scale_port`."""
    return {
        "id": shown.id,
        "before": {role.value: count for role, count in shown.before.items()},
        "after": {role.value: count for role, count in shown.after.items()},
        "added": [spec.name for spec in shown.difference.added],
        "removed": [spec.name for spec in shown.difference.removed],
        "restarts": [change.name for change in shown.difference.restarts],
        "lines": [{"sign": sign, "text": text} for sign, text in shown.lines],
        "notes": list(shown.difference.notes),
        "room": list(room_sentences(shown.room)),
        "findings": [finding_json(finding) for finding in shown.findings],
    }


def room_sentences(room: Room) -> Iterator[str]:
    """Yields what the host has and what the change takes, one sentence each."""
    yield f"{room.workers} workers on {room.cores} cores."
    if room.needed_bytes is not None and room.available_bytes is not None:
        needed, free = abs(room.needed_bytes) / 1e9, room.available_bytes / 1e9
        verb = "takes about" if room.needed_bytes >= 0 else "gives back about"
        yield f"It {verb} {needed:.1f} GB of memory; {free:.1f} GB are available."
    if room.gpus:
        yield f"New workers get GPU {', '.join(room.gpus)}."
