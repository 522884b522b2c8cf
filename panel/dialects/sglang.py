"""The dialect `sglang`: SGLang's workers and routers, from 0.4.5.post2 to today's.

Prefill, decode, unified workers and encoders over one node or several; KV by Mooncake, NIXL, Ascend or MoRI; experts
over workers; HiCache over a Mooncake Store. The pieces are in `sglang_*`; here they are put in order.
"""

from __future__ import annotations

from ..launch import ProcessSpec, Role
from .dialect import Dialect, Draft, PortDefaults
from .placement import Placement
from .servers import server_processes
from .sglang_checks import check_placement
from .sglang_notes import notes
from .sglang_router import KINDS, router_process
from .sglang_store import master_form, store_files
from .sglang_transport import common_env
from .sglang_worker import worker_process
from .smoke_request import generate_request

__all__ = ["DIALECT", "build"]

_PROMPT = "Tell me a long story"
_ORDER = (Role.ENCODER, Role.UNIFIED, Role.PREFILL, Role.DECODE)


def build(placement: Placement) -> Draft:
    """Returns the commands in the order in which they start: servers, workers, and the router once all are ready.

    Raises:
        ConfigError: SGLang or the router would refuse what the deployment asks for.
    """
    check_placement(placement)
    processes: list[ProcessSpec] = list(server_processes(placement, master_form(placement)))
    after = tuple(server.name for server in processes)
    for role in _ORDER:
        processes += [worker_process(placement, placed, after) for placed in placement.of_role(role)]
    router = placement.router
    if router is not None:
        processes.append(router_process(placement, router))
    return Draft(
        processes=tuple(processes),
        files=store_files(placement),
        env=common_env(placement.deployment),
        requests=(generate_request(router, placement.deployment.smoke_test, _PROMPT),) if router is not None else (),
        findings=notes(placement),
    )


_WORKER = (
    *("tp", "pp", "dp", "dp_attention", "attn_dp", "ep", "moe_a2a", "elastic_ep", "mem_fraction", "context_length"),
    *("page_size", "chunked_prefill_size", "max_running_requests", "kv_cache_dtype", "trust_remote_code", "nics"),
)
_ROLE = ("nodes", "dist_port", "base_gpu_id", "gpus")
_LIMITS = (
    *("thread_pool", "queue_size", "bootstrap_timeout_s", "waiting_timeout_s", "heartbeat_interval_s"),
    "heartbeat_max_failure",
)
DIALECT = Dialect(
    name="sglang",
    title="SGLang",
    engine="sglang",
    about="SGLang 0.4.5.post2 and newer, with KV by Mooncake, NIXL, Ascend or MoRI and no config file of its own.",
    fields=frozenset(
        {
            *(f"workers.{name}" for name in _WORKER),
            *(f"{role}.{name}" for role in ("prefill", "decode", "unified", "encoder") for name in _ROLE),
            *(f"{role}.{name}" for role in ("unified", "encoder") for name in ("count", "hosts", "port")),
            *(f"{role}.{name}" for role in ("unified", "encoder") for name in ("flags", "env", "run")),
            *(f"{role}.bootstrap_port" for role in ("prefill", "decode")),
            *(f"{role}.npu_phy_id" for role in ("prefill", "decode")),
            *(f"{role}.encoder_transfer" for role in ("encoder", "prefill", "unified")),
            *(f"limits.{name}" for name in _LIMITS),
            *(f"store.{name}" for name in ("master", "start", "segment_size", "metadata", "offload", "flags")),
            *("nics", "nvlink", "modelscope", "nixl.backend", "nixl.params", "router.metrics_port"),
            *("ascend.store_url", "ascend.via_mooncake", "ascend.protocol", "ascend.interface"),
        }
    ),
    transports=("mooncake", "mooncake_tcp", "nixl", "ascend", "mori"),
    routers=KINDS,
    ports=PortDefaults(
        http={Role.PREFILL: 30000, Role.DECODE: 30001, Role.UNIFIED: 30000, Role.ENCODER: 30002}, bootstrap=8998
    ),
    gpu_selection="base-gpu-id",
    build=build,
)
