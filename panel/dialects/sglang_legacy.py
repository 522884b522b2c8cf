"""The dialect `sglang-legacy`: SGLang 0.4.5.post1, the one version that reads a mooncake.json for disaggregation.

One config file per node, a metadata server that is prefill's bootstrap server unless another is named, and the mini
load balancer with comma-joined lists. Newer versions never open the file: they are the dialect `sglang`'s.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from ...engine.errors import ConfigError
from ...nic_probe.finding import Evidence, Finding, Severity
from ..deployment import Deployment
from ..flags.translate import Translated, translate
from ..launch import PlannedFile, ProcessSpec, Readiness, Role
from ..metadata.address import Scheme, parse_metadata_server
from .dialect import Dialect, Draft, PortDefaults
from .placement import Placed, PlacedRouter, Placement, flag, flags, url, version_of
from .servers import server_processes
from .sglang_arguments import (
    address_arguments,
    group_arguments,
    model_arguments,
    parallel_arguments,
    size_arguments,
)
from .sglang_flags import ENGINE, check_flags
from .sglang_rules import LEGACY_VERSION
from .sglang_transport import nic_names
from .sglang_version import band_env
from .sglang_worker import BOOTSTRAP_PORT, LAUNCH, READY_TIMEOUT_S, bootstrap_arguments, gpu_env, process_of
from .smoke_request import asked_host, generate_request

__all__ = ["DIALECT", "build"]

_PROMPT = "Let me tell you a lonnng story "
_FILE = "mooncake.json"
_VERSION = "0.4.5.post1"
_NO_MINI_LB = (0, 5, 2)


def build(placement: Placement) -> Draft:
    """Returns the commands: prefill first, since the metadata server lives in it, then decode, then the balancer.

    Raises:
        ConfigError: something that this version cannot do.
    """
    _check(placement)
    servers = server_processes(placement)
    prefill = placement.of_role(Role.PREFILL)
    waits = tuple(server.name for server in servers)
    processes: list[ProcessSpec] = [*servers, *(_worker(placement, placed, waits) for placed in prefill)]
    if placement.deployment.metadata is None:
        waits = (prefill[0].name,)
    processes += [_worker(placement, placed, waits) for placed in placement.of_role(Role.DECODE)]
    router = placement.router
    if router is not None:
        processes.append(_balancer(placement, router))
    return Draft(
        processes=tuple(processes),
        files=tuple(_files(placement)),
        env={"SGLANG_USE_MODELSCOPE": "true"} if placement.deployment.modelscope else {},
        requests=(generate_request(router, placement.deployment.smoke_test, _PROMPT),) if router is not None else (),
        findings=tuple(_notes(placement)),
    )


def _arguments(placement: Placement, placed: Placed) -> Translated:
    """Returns the worker's arguments in the words of the one version that this dialect speaks to."""
    deployment, settings = placement.deployment, placed.settings
    check_flags(settings, placed.role.value)
    metrics = deployment.observe and "enable-metrics" not in settings.flags
    arguments = (
        *model_arguments(deployment),
        *flag("disaggregation-mode", placed.role.value),
        *address_arguments(placed),
        *_bootstrap(placement, placed),
        *group_arguments(placed),
        *parallel_arguments(settings, placed.role.value),
        *size_arguments(settings),
        *(("--enable-metrics",) if metrics else ()),
        *flags(settings.flags),
    )
    return translate(ENGINE, _VERSION, arguments)


def _worker(placement: Placement, placed: Placed, after: tuple[str, ...]) -> ProcessSpec:
    deployment = placement.deployment
    argv = (*LAUNCH, *_arguments(placement, placed).arguments)
    env = {**gpu_env(placement, placed), "MOONCAKE_CONFIG_PATH": f"./{_FILE}"}
    band = placement.rpc_ports.get(placed.node)
    if band is not None:
        env |= band_env(band, version_of(_VERSION))
    if deployment.observe:
        env["MC_TE_METRIC"] = "1"
    return process_of(placement, placed, argv, env, after)


def _bootstrap(placement: Placement, placed: Placed) -> tuple[str, ...]:
    """Returns the bootstrap port: the balancer hands none on, so decode is told prefill's."""
    if placed.role is Role.PREFILL:
        return bootstrap_arguments(placement, placed)
    port = placement.first_ranks(Role.PREFILL)[0].bootstrap_port
    return () if port is None or port == BOOTSTRAP_PORT else flag("disaggregation-bootstrap-port", port)


def _balancer(placement: Placement, placed: PlacedRouter) -> ProcessSpec:
    argv = ["python3", "-m", "sglang.srt.disaggregation.mini_lb"]
    for role in (Role.PREFILL, Role.DECODE):
        urls = (url(worker.address, worker.port) for worker in placement.first_ranks(role))
        argv += flag(role.value, ",".join(urls))
    argv += [*flag("host", placed.listen), *flag("port", placed.port), *flags(placement.deployment.router.flags)]
    timeout = placement.deployment.limits.ready_timeout_s or READY_TIMEOUT_S
    return ProcessSpec(
        name="router",
        role=Role.ROUTER,
        node=placed.node or placement.local_name,
        argv=tuple(argv),
        env={},
        cwd="",
        ports={"http": placed.port},
        ready=Readiness(url(asked_host(placed.listen), placed.port, "/health"), timeout),
        log="router.log",
        after=placement.answering(),
    )


def _files(placement: Placement) -> Iterator[PlannedFile]:
    """Yields one mooncake.json for each node: all instances on it share the file."""
    by_node: dict[str, list[Placed]] = {}
    for worker in placement.workers:
        by_node.setdefault(worker.node, []).append(worker)
    tcp = placement.deployment.transport == "mooncake_tcp"
    for node, workers in by_node.items():
        names = dict.fromkeys(name for worker in workers for name in nic_names(worker.nics))
        config = {
            "local_hostname": workers[0].address,
            "metadata_server": _metadata(placement),
            "protocol": "tcp" if tcp else "rdma",
            "device_name": "" if tcp else ",".join(names),
        }
        yield PlannedFile(_FILE, json.dumps(config, indent=2) + "\n", node)


def _metadata(placement: Placement) -> str:
    metadata = placement.deployment.metadata
    if metadata is not None:
        return metadata.server
    first = placement.first_ranks(Role.PREFILL)[0]
    return url(first.address, first.bootstrap_port or BOOTSTRAP_PORT, "/metadata")


def _check(placement: Placement) -> None:
    deployment = placement.deployment
    _check_metadata(deployment)
    for role in (Role.PREFILL, Role.DECODE):
        _check_one_of_a_node(placement, role)
    for worker in placement.workers:
        if deployment.transport == "mooncake" and not worker.nics:
            remedy = "name RDMA devices, such as nics: [mlx5_0], or write transport: mooncake_tcp"
            problem = f"names no device for {worker.name}, and mooncake.json needs device_name for rdma"
            raise ConfigError("nics", deployment.nics, problem, remedy)
    numbers = version_of(deployment.engine_version)
    if placement.router is not None and numbers >= _NO_MINI_LB:
        remedy = "write dialect: sglang, whose router is sglang_router.launch_router, or router.kind: none"
        problem = f"is a module that SGLang {deployment.engine_version} does not have"
        raise ConfigError("router.kind", "mini_lb", problem, remedy)


def _check_metadata(deployment: Deployment) -> None:
    metadata = deployment.metadata
    if metadata is None:
        return
    backend = Scheme(metadata.backend) if metadata.backend is not None else Scheme.ETCD
    if metadata.backend is not None:
        remedy = f"write {metadata.backend}:// in front of metadata.server"
        raise ConfigError("metadata.backend", metadata.backend, "is not a key that this SGLang reads", remedy)
    parsed = parse_metadata_server(metadata.server, field="metadata.server", backend=backend)
    if parsed.scheme is Scheme.P2P:
        remedy = "leave metadata out, which takes prefill's own, or use the dialect sglang"
        raise ConfigError("metadata.server", metadata.server, "came with SGLang 0.4.5.post2", remedy)


def _check_one_of_a_node(placement: Placement, role: Role) -> None:
    seen: dict[str, Placed] = {}
    for worker in placement.of_role(role):
        other = seen.setdefault(worker.node, worker)
        if other is not worker:
            remedy = (
                f"name as many {role.value}.hosts as workers; a container with a network of its own counts as a host"
            )
            problem = f"puts {other.name} and {worker.name} on {worker.node or 'one host'}, where their ports collide"
            raise ConfigError(f"{role.value}.count", placement.deployment.settings(role.value).count, problem, remedy)


def _notes(placement: Placement) -> Iterator[Finding]:
    deployment = placement.deployment
    said = deployment.engine_version.removeprefix("v")
    if said != _VERSION:
        yield LEGACY_VERSION.finding(
            Severity.ERROR if said else Severity.INFO,
            "engine_version",
            (Evidence("engine_version", said or "not said"),),
            f"The file mooncake.json is read by SGLang {_VERSION} alone.",
            f"Install sglang=={_VERSION} on every host, or write dialect: sglang.",
            _VERSION,
        )
    for role in (Role.PREFILL, Role.DECODE):
        yield from _arguments(placement, placement.first_ranks(role)[0]).findings


_WORKER = (
    *("tp", "dp", "dp_attention", "mem_fraction", "context_length", "page_size", "chunked_prefill_size"),
    *("max_running_requests", "kv_cache_dtype", "trust_remote_code", "nics", "attn_dp"),
)
_ROLE = ("nodes", "dist_port", "base_gpu_id", "gpus", "bootstrap_port")
DIALECT = Dialect(
    name="sglang-legacy",
    title="SGLang with mooncake.json",
    engine="sglang",
    about="SGLang 0.4.5.post1 alone, with one mooncake.json per node, a metadata server and the mini load balancer.",
    fields=frozenset(
        {
            *(f"workers.{name}" for name in _WORKER),
            *(f"{role}.{name}" for role in ("prefill", "decode") for name in _ROLE),
            *(
                "metadata.server",
                "metadata.backend",
                "metadata.start",
                "metadata.node",
                "metadata",
                "nics",
                "modelscope",
            ),
        }
    ),
    transports=("mooncake", "mooncake_tcp"),
    routers=("mini_lb", "none"),
    ports=PortDefaults(http={Role.PREFILL: 30000, Role.DECODE: 30001}, bootstrap=BOOTSTRAP_PORT),
    gpu_selection="base-gpu-id",
    build=build,
    version=_VERSION,
)
