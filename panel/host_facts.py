"""What planning needs to know of the host, and how it is found out for this one."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..engine.net import ephemeral_range

__all__ = ["HostFacts", "elsewhere", "this_host"]

# What NVIDIA's and AMD's drivers make when they find a GPU.
_DRIVER_FILES = ("/dev/nvidiactl", "/dev/kfd")


@dataclass(frozen=True, slots=True)
class HostFacts:
    """The host as the planner sees it.

    Attributes:
        node: the host's name.
        cores: CPU cores that the run may use; 0 is not known.
        python: the interpreter that has pdpanel installed.
        taken: ports in use; only those of the bands in `panel.ports` and the wished router port matter.
        ephemeral: first and last port that the kernel gives away.
        has_gpus: whether the driver of a GPU is at work.
    """

    node: str
    cores: int
    python: str
    taken: frozenset[int] = frozenset()
    ephemeral: tuple[int, int] = (32768, 60999)
    has_gpus: bool = False


def elsewhere() -> HostFacts:
    """Returns the facts for a plan that is shown or exported: nothing is known of the host that it will run on."""
    return HostFacts(node="", cores=0, python="python3")


def this_host(taken: Iterable[int]) -> HostFacts:
    """Returns the facts of the host that this runs on; `taken` are the ports that count as in use."""
    return HostFacts(
        node=platform.node() or "localhost",
        cores=len(os.sched_getaffinity(0)),
        python=sys.executable,
        taken=frozenset(taken),
        ephemeral=ephemeral_range(),
        has_gpus=any(Path(path).exists() for path in _DRIVER_FILES),
    )
