"""A Deployment with its ports and threads decided: what every dialect turns into commands.

Made by `panel.plan`; knows nothing of any engine's flags.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..deployment import Deployment
from ..launch import Role

__all__ = ["Placed", "Placement", "flag", "flags", "url"]


@dataclass(frozen=True, slots=True)
class Placed:
    """One worker and its ports; `bootstrap_port` is a prefill worker's, None elsewhere."""

    name: str
    role: Role
    port: int
    bootstrap_port: int | None = None


@dataclass(frozen=True, slots=True)
class Placement:
    """The Deployment and what was decided for it; `threads` is the compute threads of each worker."""

    deployment: Deployment
    node: str
    python: str
    threads: int
    run_id: str
    run_dir: str
    cache_dir: str
    workers: tuple[Placed, ...]
    router_port: int

    def of_role(self, role: Role) -> tuple[Placed, ...]:
        """Returns the workers of `role`."""
        return tuple(worker for worker in self.workers if worker.role is role)


def url(host: str, port: int, path: str = "") -> str:
    """Returns the HTTP URL of `path`; an IPv6 address gets its brackets."""
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}{path}"


def flag(name: str, value: object) -> tuple[str, ...]:
    """Returns `--name value` as arguments; a value that starts with a dash is joined, so it stays a value."""
    text = str(value)
    return (f"--{name}={text}",) if text.startswith("-") else (f"--{name}", text)


def flags(extra: Mapping[str, str | int | float | bool]) -> tuple[str, ...]:
    """Returns the arguments of a person's extra flags: True gives the bare flag, False nothing."""
    arguments: list[str] = []
    for name, value in extra.items():
        if value is True:
            arguments.append(f"--{name}")
        elif value is not False:
            arguments.extend(flag(name, value))
    return tuple(arguments)
