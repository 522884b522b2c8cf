"""Whether the processes of a plan can start in their order. Pure; a dialect that breaks this is wrong itself."""

from __future__ import annotations

from collections.abc import Iterable

from ..launch import ProcessSpec

__all__ = ["check_order"]


def check_order(processes: Iterable[ProcessSpec]) -> None:
    """Asserts that names are unique, that each process waits for earlier ones alone, and that each has a command."""
    started: set[str] = set()
    logs: set[str] = set()
    for spec in processes:
        assert spec.argv, f"{spec.name} has no command"
        assert spec.name not in started, f"{spec.name} is there twice"
        assert spec.log not in logs, f"{spec.name} writes to another's log {spec.log}"
        missing = set(spec.after) - started
        assert not missing, f"{spec.name} waits for {', '.join(sorted(missing))}, which does not start before it"
        started.add(spec.name)
        logs.add(spec.log)
