"""The parallel sizes that a worker's command asks for, by SGLang's flags. Pure.

The runner names series by them, pictures draw ranks by them.
"""

from __future__ import annotations

from ..engine.parallel.layout import ParallelSizes
from .launch import ProcessSpec, Role

__all__ = ["WORKERS", "number_in", "ranks_of_process", "sizes_in"]

WORKERS = frozenset({Role.PREFILL, Role.DECODE, Role.UNIFIED})
_MOST_RANKS = 1024


def number_in(spec: ProcessSpec, name: str) -> int:
    """Returns the number that an option of a command has, 1 without it."""
    for place, word in enumerate(spec.argv[:-1]):
        if word == name and spec.argv[place + 1].isdecimal():
            return max(1, min(int(spec.argv[place + 1]), _MOST_RANKS))
    return 1


def sizes_in(spec: ProcessSpec) -> ParallelSizes:
    """Returns what a command of SGLang or of the bundled engine asks for; what does not fit counts as 1."""
    tp, ep = number_in(spec, "--tp-size"), number_in(spec, "--ep-size")
    dp = number_in(spec, "--dp-size" if "--enable-dp-attention" in spec.argv else "--attn-dp-size")
    return ParallelSizes(tp, dp if tp % dp == 0 else 1, ep if ep in (1, tp) else 1)


def ranks_of_process(spec: ProcessSpec) -> int:
    """Returns how many ranks of its worker a process has."""
    return max(1, sizes_in(spec).tp // number_in(spec, "--nnodes")) if spec.role in WORKERS else 1
