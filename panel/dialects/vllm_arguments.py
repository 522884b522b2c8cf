"""Options of `vllm serve` for a worker's size and place: parallelism, group of nodes, memory, lengths, GPUs.

Pure: pieces of an argument list and variables, made of one Placed. Knows nothing of connectors. Used by all dialects
of vLLM.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...engine.errors import ConfigError
from ..deployment import Deployment
from ..launch import Role
from .placement import Placed, Placement, flag, flags
from .vllm_version import require, version

__all__ = [
    "address_arguments",
    "extra_arguments",
    "group_arguments",
    "model_name",
    "needs_visible",
    "parallel_arguments",
    "prints_host",
    "size_arguments",
    "worker_env",
]

_MASTER_PORT = 29501
_BAND_SPELLINGS = ("RPC", "PRC")
_SPELLED_RIGHT = (0, 21)
_FIRST_V1 = (0, 8, 5)
# Options whose meaning the plan has to know, and the field that says it.
_PLANNED = {
    "tensor-parallel-size": "tp",
    "pipeline-parallel-size": "pp",
    "data-parallel-size": "dp",
    "data-parallel-size-local": "dp",
    "data-parallel-start-rank": "dp",
    "data-parallel-rank": "dp",
    "data-parallel-address": "hosts",
    "data-parallel-rpc-port": "dist_port",
    "nnodes": "nodes",
    "node-rank": "nodes",
    "headless": "nodes",
    "master-addr": "hosts",
    "master-port": "dist_port",
    "kv-transfer-config": "transport",
    "ec-transfer-config": "encoder_transfer",
}


def model_name(deployment: Deployment) -> str:
    """Returns the name that clients ask for."""
    return deployment.served_model_name or deployment.model


def prints_host(deployment: Deployment, placed: Placed) -> bool:
    """Returns True where --host is printed: vLLM listens on all addresses without it, as its documents have it."""
    return not placed.node and "host" in deployment.model_fields_set


def address_arguments(deployment: Deployment, placed: Placed) -> tuple[str, ...]:
    """Returns the name of the model for clients and where the worker listens."""
    named = flag("served-model-name", deployment.served_model_name) if deployment.served_model_name else ()
    host = flag("host", placed.address) if prints_host(deployment, placed) else ()
    return (*named, *host, *flag("port", placed.port))


def parallel_arguments(placed: Placed) -> tuple[str, ...]:
    """Returns the parallel sizes.

    Raises:
        ConfigError: an expert parallel size that vLLM cannot have: its experts are spread over tp * dp ranks or not.
    """
    settings = placed.settings
    arguments: list[str] = []
    for name, value in (
        ("tensor-parallel-size", settings.tp),
        ("pipeline-parallel-size", settings.pp),
        ("data-parallel-size", settings.dp),
    ):
        if value is not None:
            arguments += flag(name, value)
    if settings.ep is not None and settings.ep > 1:
        ranks = (settings.tp or 1) * (settings.dp or 1)
        if settings.ep != ranks:
            problem = f"is not tp * dp = {ranks}, over which vLLM spreads experts"
            raise ConfigError(f"{placed.role.value}.ep", settings.ep, problem, f"write {ranks}, or leave ep out")
        arguments.append("--enable-expert-parallel")
    return tuple(arguments)


def group_arguments(deployment: Deployment, placed: Placed) -> tuple[str, ...]:
    """Returns the options of a worker that spans several nodes; nothing for one of a single node.

    Raises:
        ConfigError: vLLM cannot split the worker this way, or its version cannot.
    """
    if not placed.dist_init:
        return ()
    settings, nodes = placed.settings, placed.settings.nodes
    host, _, port = placed.dist_init.rpartition(":")
    head = host.strip("[]")
    headless = ("--headless",) if placed.rank else ()
    dp = settings.dp or 1
    if dp == 1:
        require(deployment, "nnodes", f"set {placed.role.value}.nodes to 1")
        own_port = flag("master-port", port) if int(port) != _MASTER_PORT else ()
        group = (*flag("nnodes", nodes), *flag("node-rank", placed.rank), *flag("master-addr", head))
        return (*group, *own_port, *headless)
    require(deployment, "headless", f"set {placed.role.value}.nodes to 1")
    if dp % nodes:
        problem = f"does not divide over {nodes} nodes, and data parallel ranks that span nodes are not written here"
        raise ConfigError(f"{placed.role.value}.dp", dp, problem, f"write a multiple of {nodes}, or leave dp out")
    start = flag("data-parallel-start-rank", placed.rank * dp // nodes) if placed.rank else ()
    local = flag("data-parallel-size-local", dp // nodes)
    where = (*flag("data-parallel-address", head), *flag("data-parallel-rpc-port", port))
    return (*local, *start, *where, *headless)


def size_arguments(placed: Placed) -> tuple[str, ...]:
    """Returns the options of memory, lengths and batches that are set.

    Raises:
        ConfigError: a chunk of no tokens.
    """
    settings = placed.settings
    chunk = settings.chunked_prefill_size
    if chunk == 0:
        remedy = "write the tokens of a step, or -1 for prompts in one piece"
        raise ConfigError(f"{placed.role.value}.chunked_prefill_size", 0, "is no number of tokens", remedy)
    arguments: list[str] = []
    for name, value in (
        ("max-model-len", settings.context_length),
        ("gpu-memory-utilization", settings.mem_fraction),
        ("block-size", settings.page_size),
        ("kv-cache-dtype", settings.kv_cache_dtype),
        ("max-num-seqs", settings.max_running_requests),
        ("max-num-batched-tokens", chunk if chunk != -1 else None),
    ):
        if value is not None:
            arguments += flag(name, value)
    if chunk == -1:
        arguments.append("--no-enable-chunked-prefill")
    if settings.trust_remote_code:
        arguments.append("--trust-remote-code")
    return tuple(arguments)


def extra_arguments(placed: Placed, printed: Sequence[str], handled: frozenset[str] = frozenset()) -> tuple[str, ...]:
    """Returns the person's own flags.

    Args:
        printed: the options of the command so far.
        handled: flags that the dialect reads itself.

    Raises:
        ConfigError: one of them is an option that the plan writes already.
    """
    own = {name: value for name, value in placed.settings.flags.items() if name not in handled}
    names = {word.partition("=")[0] for word in printed if word.startswith("--")}
    for name in own:
        if name in _PLANNED or f"--{name}" in names:
            remedy = f"set the field {_PLANNED[name]}" if name in _PLANNED else "leave one of flag and field out"
            field = f"{placed.role.value}.flags.{name}"
            raise ConfigError(field, own[name], "is an option that the plan writes itself", remedy)
    return flags(own)


def needs_visible(placement: Placement, placed: Placed) -> bool:
    """Returns True when a worker has to be told its GPUs: it shares its node, or the deployment chooses them."""
    if not placed.visible:
        return False
    settings = placed.settings
    chosen = placement.deployment.gpu_selection is not None or settings.gpus is not None
    chosen = chosen or settings.base_gpu_id is not None
    shared = any(other.node == placed.node and other.name != placed.name for other in placement.workers)
    return chosen or shared


def worker_env(placement: Placement, placed: Placed, *variables: str) -> dict[str, str]:
    """Returns what every worker of vLLM needs: its GPUs in each of `variables`, ModelScope, Mooncake's own settings.

    Variables of Mooncake are given to workers that pass something on over it.
    """
    deployment = placement.deployment
    env: dict[str, str] = {}
    if needs_visible(placement, placed):
        env |= dict.fromkeys(variables or ("CUDA_VISIBLE_DEVICES",), ",".join(placed.visible))
    if deployment.modelscope:
        env["VLLM_USE_MODELSCOPE"] = "True"
    if deployment.transport not in {"mooncake", "mooncake_tcp", "ascend"}:
        return env
    if placed.role in {Role.PREFILL, Role.DECODE} or deployment.store is not None or deployment.encoder.count:
        if deployment.transport == "mooncake_tcp" and not _is_v0(deployment):
            # The protocol alone leaves RDMA on where there is a usable NIC; V0's mooncake.json says it all.
            env["MC_FORCE_TCP"] = "1"
        if deployment.observe:
            env["MC_TE_METRIC"] = "1"
        band = placement.rpc_ports.get(placed.node)
        if band is not None:
            for spelling in _BAND_SPELLINGS if _may_misspell(deployment) else _BAND_SPELLINGS[:1]:
                env |= {f"MC_MIN_{spelling}_PORT": str(band[0]), f"MC_MAX_{spelling}_PORT": str(band[1])}
    return env


def _is_v0(deployment: Deployment) -> bool:
    numbers = version(deployment)
    return deployment.dialect == "vllm-v0" or (bool(numbers) and numbers < _FIRST_V1)


def _may_misspell(deployment: Deployment) -> bool:
    """Returns True for engines from before Mooncake 0.3.11 (May 2026), which knew the band by another spelling alone.

    Source: Mooncake#2037; newer ones read both.
    """
    numbers = version(deployment)
    return _is_v0(deployment) or (bool(numbers) and numbers < _SPELLED_RIGHT)
