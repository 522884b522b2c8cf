"""How many KV pages fit: a GPU's memory, the share of it that this worker may take, and what is in it already.

`--mem-fraction-static` is a share of the whole GPU, for weights and KV together: so two workers on one GPU, which start
at the same time, need not look at each other. What is left of the GPU is for the activations, the graphs and the other
worker. Pure; `opening` asks torch.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ConfigError

__all__ = ["GpuMemory", "kv_pages"]

_GIB = 1 << 30
_FEWEST_PAGES = 8


@dataclass(frozen=True, slots=True)
class GpuMemory:
    """A GPU's memory in bytes.

    Attributes:
        name: of the GPU, for people.
        total: of the GPU.
        free: that nobody has taken, this process included.
        own: that this process's tensors take: the weights.
    """

    name: str
    total: int
    free: int
    own: int


def kv_pages(memory: GpuMemory, *, fraction: float, page_bytes: int, copies: int, host_bytes: int | None = None) -> int:
    """Returns the pages of each pool.

    Args:
        fraction: of the GPU's memory that weights and KV of this worker may take.
        page_bytes: of a page, all layers.
        copies: pools in the GPU's memory: 2 where the staging pages lie there, too.
        host_bytes: for staging pages in the host's memory; None where there are none.

    Raises:
        ConfigError: too little is left beside the weights.
    """
    share = int(memory.total * fraction)
    wanted = share - memory.own
    pages = max(0, wanted) // (page_bytes * copies)
    if pages < _FEWEST_PAGES:
        problem = (
            f"leaves {_gib(max(0, wanted))} of {memory.name}'s {_gib(memory.total)} for the KV beside "
            f"{_gib(memory.own)} of weights"
        )
        raise ConfigError("--mem-fraction-static", fraction, problem, "raise it, or serve a smaller model")
    if wanted > memory.free:
        others = memory.total - memory.free - memory.own
        problem = f"asks for {_gib(wanted)} of KV where {memory.name} has {_gib(memory.free)} free"
        fitting = max(0.01, int(100 * (memory.total - others) / memory.total * 0.95) / 100)
        remedy = f"others hold {_gib(others)}: use at most {fitting:g}, or end them"
        raise ConfigError("--mem-fraction-static", fraction, problem, remedy)
    if host_bytes is not None:
        pages = min(pages, host_bytes // page_bytes)
        if pages < _FEWEST_PAGES:
            problem = f"{_gib(host_bytes)} of the host's memory hold {pages} staging pages"
            remedy = "free memory of the host, or install Mooncake's build for CUDA"
            raise ConfigError("--max-total-tokens", "", problem, remedy)
    return pages


def _gib(size: int) -> str:
    return f"{size / _GIB:.1f} GiB"
