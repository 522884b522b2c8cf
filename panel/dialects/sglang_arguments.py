"""SGLang's options for a worker's place and size: address, group of nodes, GPUs, parallelism, memory, batches.

Pure: pieces of an argument list, made of one Placed. Knows nothing of transports, encoders or stores. Used by the
current dialect and by the legacy one, whose SGLang has the same names.
"""

from __future__ import annotations

from ...engine.errors import ConfigError
from ..deployment import Deployment
from ..deployment_parts import RoleSpec
from ..launch import Role
from .placement import Placed, flag
from .sglang_version import attention_ranks

__all__ = [
    "DEFAULT_PORT",
    "address_arguments",
    "group_arguments",
    "model_arguments",
    "parallel_arguments",
    "size_arguments",
]

DEFAULT_PORT = 30000
_LOCAL = "127.0.0.1"


def model_arguments(deployment: Deployment) -> tuple[str, ...]:
    """Returns the model's options."""
    named = flag("served-model-name", deployment.served_model_name) if deployment.served_model_name else ()
    return (*flag("model-path", deployment.model), *named)


def address_arguments(placed: Placed) -> tuple[str, ...]:
    """Returns where the worker listens.

    The host is printed where it is not the engine's own 127.0.0.1. The port is, too, but for a unified worker at the
    engine's default: those of a pair are always read beside each other.
    """
    named = bool(placed.node) or placed.address != _LOCAL
    host = flag("host", placed.address) if named else ()
    implied = placed.role is Role.UNIFIED and placed.port == DEFAULT_PORT and placed.settings.port is None
    return (*host, *(() if implied else flag("port", placed.port)))


def group_arguments(placed: Placed) -> tuple[str, ...]:
    """Returns the first GPU and, for a worker that spans nodes or names its start port, the group of nodes."""
    arguments = flag("base-gpu-id", placed.first_gpu) if placed.first_gpu and not placed.visible else ()
    if not placed.dist_init:
        return arguments
    group = (*flag("dist-init-addr", placed.dist_init), *flag("nnodes", placed.settings.nodes))
    return (*arguments, *group, *flag("node-rank", placed.rank))


def parallel_arguments(settings: RoleSpec, role: str) -> tuple[str, ...]:
    """Returns the parallel sizes, with DP attention spelled by the field that the deployment uses.

    Raises:
        ConfigError: sizes of `role` that SGLang refuses.
    """
    _check_parallel(settings, role)
    arguments: list[str] = []
    for name, value in (("tp-size", settings.tp), ("pp-size", settings.pp), ("attn-dp-size", settings.attn_dp)):
        if value is not None:
            arguments += flag(name, value)
    if settings.dp is not None:
        arguments += flag("dp-size", settings.dp)
    if settings.dp_attention:
        arguments.append("--enable-dp-attention")
    if settings.ep is not None:
        arguments += flag("ep-size", settings.ep)
    return tuple(arguments)


def _check_parallel(settings: RoleSpec, role: str) -> None:
    ranks = attention_ranks(settings)
    if settings.attn_dp is not None and (settings.dp is not None or settings.dp_attention):
        remedy = "write attn_dp alone, or dp with dp_attention"
        raise ConfigError(f"{role}.attn_dp", settings.attn_dp, "stands beside dp or dp_attention", remedy)
    if settings.dp_attention and settings.dp is None:
        remedy = "add dp, the number of attention ranks, which divides tp"
        raise ConfigError(f"{role}.dp_attention", True, "has no dp to spread attention over", remedy)
    tp = settings.tp or 1
    if tp % ranks:
        field = "attn_dp" if settings.attn_dp is not None else "dp"
        remedy = f"write a number that divides {tp}"
        raise ConfigError(f"{role}.{field}", ranks, f"does not divide tp {tp}, whose GPUs the ranks share", remedy)
    if settings.elastic_ep == "mooncake" and (settings.pp or 1) > 1:
        problem = "is more than the one pipeline stage that elastic_ep mooncake has"
        raise ConfigError(f"{role}.pp", settings.pp, problem, "set pp to 1, or leave elastic_ep out")


def size_arguments(settings: RoleSpec) -> tuple[str, ...]:
    """Returns the options of memory, lengths and batches that are set."""
    arguments: list[str] = []
    for name, value in (
        ("mem-fraction-static", settings.mem_fraction),
        ("context-length", settings.context_length),
        ("page-size", settings.page_size),
        ("chunked-prefill-size", settings.chunked_prefill_size),
        ("max-running-requests", settings.max_running_requests),
        ("kv-cache-dtype", settings.kv_cache_dtype),
    ):
        if value is not None:
            arguments += flag(name, value)
    if settings.trust_remote_code:
        arguments.append("--trust-remote-code")
    return tuple(arguments)
