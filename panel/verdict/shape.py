"""What a verdict must know of a run besides its samples: who does what, and the bounds that were set.

Read from the launch plan alone. Flags are those of SGLang, the bundled engine and vLLM; a bound that the command does
not set is known for the bundled engine only, whose defaults `engine.config` holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...engine.config import ServerConfig
from ..launch import LaunchPlan, ProcessSpec, Role

__all__ = ["Room", "Shape", "Worker", "shape_of"]

_MOST_RUNNING = ("--max-running-requests", "--max-num-seqs")
_CHUNK = ("--chunked-prefill-size", "--max-num-batched-tokens")
_ROUTERS = frozenset({Role.ROUTER, Role.PROXY})


@dataclass(frozen=True, slots=True)
class Room:
    """What the host has left for one more worker.

    Attributes:
        cores: that nobody uses now; None where nobody knows.
        gpus: that no run holds; None where nobody knows.
    """

    cores: float | None = None
    gpus: int | None = None


@dataclass(frozen=True, slots=True)
class Worker:
    """One worker.

    Attributes:
        most_running: requests that it computes at once at most; None where nobody knows.
        chunk: prompt tokens of a step; None where nobody knows.
        staging_pages: pages through which KV travels; None where there are none, or nobody knows.
        gpus: that it has.
    """

    name: str
    most_running: int | None = None
    chunk: int | None = None
    staging_pages: int | None = None
    gpus: int = 0


@dataclass(frozen=True, slots=True)
class Shape:
    """The parts of a run; empty tuples where a role is missing."""

    prefill: tuple[Worker, ...] = ()
    decode: tuple[Worker, ...] = ()
    unified: tuple[Worker, ...] = ()
    routers: tuple[str, ...] = ()
    transport: str = ""
    nics: int = 0
    attached: bool = False

    @property
    def workers(self) -> tuple[Worker, ...]:
        """All workers."""
        return (*self.prefill, *self.decode, *self.unified)

    @property
    def split(self) -> str:
        """Such as `1P1D`, or `2 unified`."""
        if self.unified:
            return f"{len(self.unified)} unified"
        return f"{len(self.prefill)}P{len(self.decode)}D"


def shape_of(plan: LaunchPlan) -> Shape:
    """Returns the shape of a run; ranks of one worker count once."""

    def of(role: Role) -> tuple[Worker, ...]:
        return tuple(_worker(spec, plan) for spec in plan.processes if spec.role is role and not spec.rank)

    return Shape(
        prefill=of(Role.PREFILL),
        decode=of(Role.DECODE),
        unified=of(Role.UNIFIED),
        routers=tuple(spec.name for spec in plan.processes if spec.role in _ROUTERS),
        transport=plan.transport,
        nics=len({nic for spec in plan.processes for nic in spec.nics}),
        attached=plan.attached,
    )


def _worker(spec: ProcessSpec, plan: LaunchPlan) -> Worker:
    default = ServerConfig(model_path="") if plan.dialect == "bundled" and not plan.attached else None
    running, chunk = _flag(spec.argv, _MOST_RUNNING), _flag(spec.argv, _CHUNK)
    pages = None
    if default is not None:
        running, chunk = running or default.max_running_requests, chunk or default.chunked_prefill_size
        size = _flag(spec.argv, ("--page-size",)) or default.page_size
        if spec.role is Role.PREFILL:
            pages = (_flag(spec.argv, ("--max-total-tokens",)) or default.max_total_tokens) // size
    return Worker(spec.name, running, chunk, pages, len(spec.gpus))


def _flag(argv: Sequence[str], names: Sequence[str]) -> int | None:
    """Returns the last positive whole number that one of the flags is given, as engines do."""
    found: int | None = None
    for at, word in enumerate(argv):
        name, given, value = word.partition("=")
        if name not in names:
            continue
        text = value if given else argv[at + 1] if at + 1 < len(argv) else ""
        if text.isascii() and text.isdigit() and int(text):
            found = int(text)
    return found
