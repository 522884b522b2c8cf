"""vLLM with its V1 engine, 0.33 and back: MooncakeConnector, NIXL, MoRI, a Mooncake Store, LMCache, encoders.

Pure functions from a Placement to ProcessSpecs and files. The connector, the store's files and the router each have a
module of their own.
"""

from __future__ import annotations

from ...nic_probe.finding import Finding
from ..flags.translate import translate
from ..launch import ProcessSpec, Request, Role
from .dialect import Dialect, Draft, PortDefaults
from .placement import Placed, PlacedRouter, Placement, flag
from .proxy_program import PROGRAM, proxy_file
from .servers import server_processes
from .smoke_request import completions_request
from .vllm_arguments import (
    address_arguments,
    extra_arguments,
    group_arguments,
    model_name,
    parallel_arguments,
    size_arguments,
    worker_env,
)
from .vllm_connector import connector_of
from .vllm_encoder import EC_PORT, chat_request, check_encoders, encoder_arguments, encoder_ports, has_encoders
from .vllm_findings import listening_findings, program_findings, store_findings
from .vllm_process import process_of
from .vllm_routers import kind_of, program_of, router_process
from .vllm_store import master_form, store_files

__all__ = ["DIALECT", "build"]

_PROMPT = "San Francisco is a"
_MAX_TOKENS = 7


def build(placement: Placement) -> Draft:
    """Returns servers, workers and router; a worker waits for the servers beside it, the router for the workers."""
    deployment, router = placement.deployment, placement.router
    check_encoders(placement)
    servers = server_processes(placement, master_form(deployment.store) if deployment.store else None)
    after = tuple(server.name for server in servers)
    workers = [_worker(placement, placed, after) for placed in placement.workers]
    processes = [*servers, *(spec for spec, _ in workers)]
    files = list(store_files(placement))
    # What is said of one worker's options holds for all with the same.
    said = dict.fromkeys(finding for _, found in workers for finding in found)
    findings = [*said, *listening_findings(placement), *store_findings(deployment)]
    if router is not None:
        processes.append(router_process(placement, router))
        if kind_of(deployment) == "proxy":
            if program_of(deployment) == PROGRAM:
                files.append(proxy_file(placement, router))
            else:
                findings += program_findings(placement, program_of(deployment))
    return Draft(tuple(processes), tuple(files), requests=_requests(placement), findings=tuple(findings))


def _worker(placement: Placement, placed: Placed, after: tuple[str, ...]) -> tuple[ProcessSpec, tuple[Finding, ...]]:
    deployment = placement.deployment
    connector = connector_of(placement, placed)
    argv = [*address_arguments(deployment, placed)]
    argv += [*parallel_arguments(placed), *group_arguments(deployment, placed), *size_arguments(placed)]
    if connector.config:
        argv += flag("kv-transfer-config", connector.config)
    argv += encoder_arguments(placement, placed)
    argv += extra_arguments(placed, argv)
    told = translate("vllm", deployment.engine_version, argv)
    visible = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES") if deployment.transport == "mori" else ()
    command = ("vllm", "serve", deployment.model, *told.arguments)
    env = {**worker_env(placement, placed, *visible), **connector.env}
    ports = {**connector.ports, **encoder_ports(placement, placed)}
    spec = process_of(placement, placed, command, env, ports, after)
    return spec, told.findings


def _requests(placement: Placement) -> tuple[Request, ...]:
    """Returns the request through the router, or to the first unified worker where there is none."""
    deployment, asked = placement.deployment, placement.router
    unified = placement.first_ranks(Role.UNIFIED)
    if asked is None and unified:
        asked = PlacedRouter("none", unified[0].address, unified[0].port, unified[0].node, unified[0].address)
    if asked is None:
        return ()
    if has_encoders(deployment):
        return (chat_request(deployment, asked, _PROMPT),)
    return (completions_request(asked, deployment.smoke_test, model_name(deployment), _PROMPT, _MAX_TOKENS),)


_ROLE_FIELDS = ("nodes", "dist_port", "gpus", "base_gpu_id")
_WORKER_FIELDS = ("tp", "pp", "dp", "ep", "mem_fraction", "context_length", "page_size", "chunked_prefill_size")

DIALECT = Dialect(
    name="vllm",
    title="vLLM",
    engine="vllm",
    about="vLLM's V1 engine with its own connectors; for NVIDIA GPUs, and AMD's with transport mori.",
    fields=frozenset(
        {
            *(f"unified.{name}" for name in ("count", "hosts", "port", "kv_port", *_ROLE_FIELDS)),
            *(f"encoder.{name}" for name in ("count", "hosts", "port", "gpus", "base_gpu_id")),
            *(f"{role}.{name}" for role in ("prefill", "decode") for name in (*_ROLE_FIELDS, "bootstrap_port")),
            *(f"{role}.kv_port" for role in ("prefill", "decode")),
            *(f"workers.{name}" for name in _WORKER_FIELDS),
            *(f"workers.{name}" for name in ("max_running_requests", "kv_cache_dtype", "trust_remote_code", "nics")),
            *("nics", "modelscope", "store", "nixl.backend", "limits.thread_pool", "router.metrics_port"),
        }
    ),
    transports=("mooncake", "mooncake_tcp", "nixl", "mori"),
    routers=("proxy", "vllm-router", "none"),
    ports=PortDefaults(
        http={Role.PREFILL: 8100, Role.DECODE: 8200, Role.UNIFIED: 8100, Role.ENCODER: 8300},
        bootstrap=8998,
        kv={Role.PREFILL: 5600, Role.DECODE: 5600, Role.UNIFIED: EC_PORT},
        dist=29501,
        router=8000,
    ),
    gpu_selection="visible-devices",
    build=build,
)
