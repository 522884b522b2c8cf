"""vLLM on Ascend NPUs (vllm-ascend): MooncakeConnectorV1 over Mooncake's Ascend direct transport.

Pure functions from a Placement to ProcessSpecs. Workers of one node each, as vllm-ascend's documents start them.
"""

from __future__ import annotations

import ipaddress
import json

from ...engine.errors import ConfigError
from ...nic_probe.finding import Finding
from ..flags.translate import translate
from ..launch import ProcessSpec, Readiness, Request, Role
from .dialect import Dialect, Draft, PortDefaults
from .placement import Placed, PlacedRouter, Placement, flag, flags, url
from .servers import server_processes
from .smoke_request import asked_host, completions_request
from .vllm_arguments import (
    address_arguments,
    extra_arguments,
    model_name,
    parallel_arguments,
    size_arguments,
    worker_env,
)
from .vllm_findings import listening_findings
from .vllm_process import READY_TIMEOUT_S, process_of
from .vllm_routers import check_proxy

__all__ = ["DIALECT", "build", "first_free_kv_port"]

_PROXY = "load_balance_proxy_server_example.py"
_PROMPT = "San Francisco is a"
_MAX_TOKENS = 7
_RESERVED_FIRST, _RESERVED_EACH = 20000, 1000
_FEW_NPUS, _MANY_NPUS = 8, 16
_ROLES = {Role.PREFILL: "kv_producer", Role.DECODE: "kv_consumer"}
_INTERFACES = ("GLOO_SOCKET_IFNAME", "TP_SOCKET_IFNAME", "HCCL_SOCKET_IFNAME")


def first_free_kv_port(npus: int) -> int:
    """Returns the first port behind those that Mooncake's Ascend transport reserves on a node of this many NPUs."""
    return _RESERVED_FIRST + _RESERVED_EACH * npus


def build(placement: Placement) -> Draft:
    """Returns workers and the load balancing proxy.

    Raises:
        ConfigError: a connector's port lies in the transport's range, or the network's interface is missing.
    """
    deployment, router = placement.deployment, placement.router
    workers = [_worker(placement, placed) for placed in placement.workers]
    processes = [*server_processes(placement), *(spec for spec, _ in workers)]
    said = dict.fromkeys(finding for _, found in workers for finding in found)
    requests: tuple[Request, ...] = ()
    if router is not None:
        check_proxy(deployment)
        processes.append(_proxy(placement, router))
        requests = (completions_request(router, deployment.smoke_test, model_name(deployment), _PROMPT, _MAX_TOKENS),)
    return Draft(tuple(processes), requests=requests, findings=(*said, *listening_findings(placement)))


def _worker(placement: Placement, placed: Placed) -> tuple[ProcessSpec, tuple[Finding, ...]]:
    deployment = placement.deployment
    argv = [*address_arguments(deployment, placed)]
    argv += [*parallel_arguments(placed), *size_arguments(placed)]
    argv += flag("kv-transfer-config", _kv_config(placement, placed))
    argv += extra_arguments(placed, argv)
    told = translate("vllm", deployment.engine_version, argv)
    command = ("vllm", "serve", deployment.model, *told.arguments)
    env = {**_network(placement, placed), **worker_env(placement, placed, "ASCEND_RT_VISIBLE_DEVICES")}
    spec = process_of(placement, placed, command, env, {"kv": _kv_port(placement, placed)})
    return spec, told.findings


def _kv_config(placement: Placement, placed: Placed) -> str:
    sizes = {
        role.value: {"dp_size": workers[0].settings.dp or 1, "tp_size": workers[0].settings.tp or 1}
        for role in _ROLES
        if (workers := placement.of_role(role))
    }
    config = {
        "kv_connector": "MooncakeConnectorV1",
        "kv_role": _ROLES[placed.role],
        "kv_port": str(_kv_port(placement, placed)),
        "engine_id": str(placement.workers.index(placed)),
        "kv_connector_extra_config": sizes,
    }
    return json.dumps(config)


def _kv_port(placement: Placement, placed: Placed) -> int:
    """Returns the worker's kv_port; it takes one more port for each of its NPUs.

    Raises:
        ConfigError: the port lies where Mooncake's Ascend transport has its own.
    """
    port = placed.kv_port
    assert port is not None, "the port defaults have one"
    host = placement.deployment.hosts.get(placed.node)
    used = max((npu for worker in placement.workers if worker.node == placed.node for npu in worker.gpus), default=0)
    npus = (host.gpus if host else None) or (_FEW_NPUS if used < _FEW_NPUS else max(_MANY_NPUS, used + 1))
    least = first_free_kv_port(npus)
    if _RESERVED_FIRST - npus <= port < least:
        problem = f"lies in {_RESERVED_FIRST}-{least - 1}, which Mooncake's transport reserves for {npus} NPUs"
        raise ConfigError(f"{placed.role.value}.kv_port", port, problem, f"write {least} or more")
    return port


def _network(placement: Placement, placed: Placed) -> dict[str, str]:
    """Returns the address and the interface that HCCL, gloo and tensor parallel ranks use."""
    interface = placement.deployment.ascend.interface
    if interface is None and placement.several_nodes:
        problem, remedy = "is missing, and ranks on several nodes find each other by it", "write it, such as eth0"
        raise ConfigError("ascend.interface", "", problem, remedy)
    env: dict[str, str] = {} if interface is None else {name: interface for name in _INTERFACES}
    try:
        address = ipaddress.ip_address(placed.address)
    except ValueError:
        problem = "is a name, and HCCL_IF_IP takes an address"
        remedy = f"write hosts.{placed.node or 'NAME'}.address"
        raise ConfigError(f"{placed.role.value}.hosts", placed.address, problem, remedy) from None
    return env if address.is_loopback else {"HCCL_IF_IP": placed.address, **env}


def _proxy(placement: Placement, router: PlacedRouter) -> ProcessSpec:
    argv = ["python3", _PROXY, *flag("host", router.listen), *flag("port", router.port)]
    for word, role in (("prefiller", Role.PREFILL), ("decoder", Role.DECODE)):
        workers = placement.of_role(role)
        argv += [f"--{word}-hosts", *(worker.address for worker in workers)]
        argv += [f"--{word}-ports", *(str(worker.port) for worker in workers)]
    argv += flags(placement.deployment.router.flags)
    return ProcessSpec(
        name="router",
        role=Role.PROXY,
        node=router.node or placement.local_name,
        argv=tuple(argv),
        env={},
        cwd="",
        ports={"http": router.port},
        # Its framework describes the API there as soon as it listens.
        ready=Readiness(
            url(asked_host(router.listen), router.port, "/openapi.json"),
            placement.deployment.limits.ready_timeout_s or READY_TIMEOUT_S,
        ),
        log="router.log",
        after=placement.answering(),
    )


_ROLE_FIELDS = ("kv_port", "gpus", "base_gpu_id")
_WORKER_FIELDS = ("tp", "pp", "dp", "ep", "mem_fraction", "context_length", "page_size", "chunked_prefill_size")

DIALECT = Dialect(
    name="vllm-ascend",
    title="vLLM on Ascend",
    engine="vllm",
    about="vLLM with vllm-ascend on Ascend NPUs; needs a Mooncake built with its Ascend direct transport.",
    fields=frozenset(
        {
            *(f"{role}.{name}" for role in ("prefill", "decode") for name in _ROLE_FIELDS),
            *(f"workers.{name}" for name in (*_WORKER_FIELDS, "max_running_requests", "kv_cache_dtype")),
            *("workers.trust_remote_code", "modelscope", "ascend.interface"),
        }
    ),
    transports=("mooncake", "ascend"),
    routers=("ascend-proxy", "none"),
    ports=PortDefaults(
        http={Role.PREFILL: 13700, Role.DECODE: 13701},
        bootstrap=None,
        # Behind the ports that the transport reserves on nodes of 16 NPUs.
        kv={Role.PREFILL: 36000, Role.DECODE: 36100},
        router=8000,
    ),
    gpu_selection="visible-devices",
    build=build,
)
