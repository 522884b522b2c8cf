"""The ports that an engine takes beside those that its command names. Pure.

Not of any one deployment: how far apart two processes on one machine must be. Called by `worker_ports`.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..deployment_parts import RoleSpec
from ..dialects.dialect import Dialect
from .gpu_count import gpus_of_process

__all__ = ["dist_offsets", "http_offsets", "kv_offsets"]

# SGLang 0.5.23, PortArgs.init_new: five to seven ports after the one of --dist-init-addr, or after port + 233 for a
# worker of one node with DP attention; DataParallelController: 13 after it, or after the HTTP port.
_DERIVED = (0, 1, 2, 3, 4, 5, 6, 7)
_HANDSHAKE = 13
_ATTENTION_START = 233
# Mooncake's document of the vLLM 0.6 connector: prefill_url and decode_url on one node differ by 50 at least.
_V0_DISTANCE = 50


def http_offsets(dialect: Dialect, spec: RoleSpec) -> tuple[int, ...]:
    """Returns what a worker takes, counted from its HTTP port."""
    attention = spec.dp_attention or (spec.attn_dp or 1) > 1
    if dialect.engine != "sglang" or spec.nodes > 1 or not attention:
        return (0,)
    return (0, _HANDSHAKE, *(_ATTENTION_START + offset for offset in _DERIVED))


def dist_offsets(dialect: Dialect) -> tuple[int, ...]:
    """Returns what a group of nodes takes on its first one, counted from the port that it starts at."""
    return (*_DERIVED, _HANDSHAKE) if dialect.engine == "sglang" else (0,)


def kv_offsets(dialect: Dialect, spec: RoleSpec) -> Sequence[int]:
    """Returns what a connector takes, counted from its own port.

    vLLM's NIXL side channel has a port for each data parallel rank, vllm-ascend's one for each NPU.
    """
    if dialect.name == "vllm-v0":
        return range(_V0_DISTANCE)
    if dialect.name == "vllm-ascend":
        return range(gpus_of_process(spec) + 1)
    return range(spec.dp or 1)
