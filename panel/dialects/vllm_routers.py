"""What clients of a vLLM V1 deployment talk to: vllm-router, vLLM's example proxies, or a generated proxy.

Pure: one ProcessSpec. Knows of workers only where they are reached.
"""

from __future__ import annotations

from ...engine.errors import ConfigError
from ..deployment import Deployment
from ..launch import ProcessSpec, Readiness, Role
from .placement import Placed, PlacedRouter, Placement, flag, flags, url
from .proxy_program import PROGRAM, proxy_process
from .routers import check_policies
from .smoke_request import asked_host
from .vllm_connector import BOOTSTRAP_PORT, PING_PORT
from .vllm_encoder import PROXY as ENCODER_PROXY
from .vllm_encoder import proxy_arguments
from .vllm_version import has

__all__ = ["kind_of", "program_of", "router_process"]

_MOONCAKE_PROXY = "examples/disaggregated/mooncake_connector/mooncake_connector_proxy.py"
_TOY_PROXY = "tests/v1/kv_connector/nixl_integration/toy_proxy_server.py"
_PROXY_PORT = 8000
_READY_TIMEOUT_S = 900.0
_ROUND_ROBIN = "round_robin"


def kind_of(deployment: Deployment) -> str:
    """Returns the kind of router: the deployment's, else the one that its transport's document has.

    Raises:
        ConfigError: this kind cannot serve the deployment.
    """
    chosen = deployment.router.kind
    if deployment.encoder.count:
        if chosen in {None, "proxy"}:
            return "proxy"
        raise ConfigError("router.kind", chosen, "does not know encoders of vLLM", "write proxy, or leave it out")
    lmcache = deployment.store is not None and deployment.store.kind == "lmcache" and not deployment.unified.count
    own = deployment.unified.count > 0 or deployment.transport in {"nixl", "mori"}
    kind = chosen or ("vllm-router" if own and not lmcache else "proxy")
    problem, remedy = "", "vllm-router"
    if kind == "proxy" and deployment.unified.count:
        problem = "splits requests over prefill and decode workers, and these are unified"
    elif kind == "proxy" and deployment.transport == "mori" and not lmcache:
        problem = "has no place for workers of MoRIIOConnector to register at"
    elif kind == "vllm-router" and lmcache:
        problem, remedy = "expects a connector that passes KV from worker to worker, which LMCache does not", "proxy"
    if problem:
        raise ConfigError("router.kind", kind, problem, f"write {remedy}, or leave it out")
    return kind


def program_of(deployment: Deployment) -> str:
    """Returns the program that an example or generated proxy is, by its path."""
    if deployment.encoder.count:
        return ENCODER_PROXY
    if deployment.store is not None and deployment.store.kind == "lmcache":
        return PROGRAM
    if deployment.transport in {"mooncake", "mooncake_tcp"} and has(deployment, "mooncake_proxy"):
        return _MOONCAKE_PROXY
    return _TOY_PROXY


def router_process(placement: Placement, router: PlacedRouter) -> ProcessSpec:
    """Returns the router's process.

    Raises:
        ConfigError: a field of the router that this kind has no use for.
    """
    deployment = placement.deployment
    if kind_of(deployment) == "vllm-router":
        check_policies(deployment.router, "vllm-router")
        return _vllm_router(placement, router)
    check_proxy(deployment)
    if program_of(deployment) == PROGRAM:
        return proxy_process(placement, router)
    return _example(placement, router)


def check_proxy(deployment: Deployment) -> None:
    """Raises ConfigError for what only a real router has: a policy and metrics."""
    spec = deployment.router
    remedy = "leave it out, or set router.kind: vllm-router"
    if spec.policy not in {None, _ROUND_ROBIN}:
        raise ConfigError("router.policy", spec.policy, "is none of a proxy that takes workers in turn", remedy)
    if spec.metrics_port is not None:
        raise ConfigError("router.metrics_port", spec.metrics_port, "is for metrics, which a proxy has none of", remedy)


def _vllm_router(placement: Placement, router: PlacedRouter) -> ProcessSpec:
    deployment = placement.deployment
    argv = ["vllm-router", *flag("policy", deployment.router.policy or _ROUND_ROBIN)]
    unified = placement.first_ranks(Role.UNIFIED)
    ports = {"http": router.port}
    if unified:
        argv += ["--worker-urls", *(url(worker.address, worker.port) for worker in unified)]
    else:
        argv.append("--vllm-pd-disaggregation")
        if deployment.transport in {"mooncake", "mooncake_tcp"}:
            argv += flag("kv-connector", "mooncake")
        if deployment.transport == "mori":
            # Workers of this connector tell the router where they are.
            listen = f"[{router.listen}]" if ":" in router.listen else router.listen
            argv += [*flag("kv-connector", "moriio"), *flag("vllm-discovery-address", f"{listen}:{PING_PORT}")]
            ports["discovery"] = PING_PORT
        else:
            argv += _workers(placement)
    ranks = _ranks_on_a_node(placement)
    if ranks > 1:
        argv += flag("intra-node-data-parallel-size", ranks)
    argv += [*flag("host", router.listen), *flag("port", router.port)]
    if router.metrics_port is not None:
        argv += flag("prometheus-port", router.metrics_port)
        ports["metrics"] = router.metrics_port
    argv += flags(deployment.router.flags)
    return _process(placement, router, Role.ROUTER, argv, ports, url(asked_host(router.listen), router.port, "/health"))


def _workers(placement: Placement) -> list[str]:
    mooncake = placement.deployment.transport != "nixl"
    argv: list[str] = []
    for worker in placement.first_ranks(Role.PREFILL):
        argv += ["--prefill", url(worker.address, worker.port)]
        argv += [str(worker.bootstrap_port)] if mooncake else []
    for worker in placement.first_ranks(Role.DECODE):
        argv += ["--decode", url(worker.address, worker.port)]
    return argv


def _ranks_on_a_node(placement: Placement) -> int:
    """Returns the data parallel ranks of a worker's node; 1 where workers differ, since the router has one number."""
    ranks = {(each.settings.dp or 1) // each.settings.nodes for each in placement.workers}
    return next(iter(ranks)) if len(ranks) == 1 else 1


def _example(placement: Placement, router: PlacedRouter) -> ProcessSpec:
    deployment = placement.deployment
    program = program_of(deployment)
    if program == ENCODER_PROXY:
        ready = url(asked_host(router.listen), router.port, "/openapi.json")
        return _process(placement, router, Role.PROXY, proxy_arguments(placement, router), {"http": router.port}, ready)
    argv = ["python3", program]
    host = deployment.router.host
    if host is not None:
        argv += flag("host", host)
    if router.port != _PROXY_PORT:
        argv += flag("port", router.port)
    prefill, decode = placement.first_ranks(Role.PREFILL), placement.first_ranks(Role.DECODE)
    if program == _MOONCAKE_PROXY:
        for worker in prefill:
            argv += ["--prefill", url(worker.address, worker.port), *_bootstrap(worker, len(prefill) > 1)]
        for worker in decode:
            argv += ["--decode", url(worker.address, worker.port)]
    else:
        for word, workers in (("prefiller", prefill), ("decoder", decode)):
            argv += [f"--{word}-hosts", *(worker.address for worker in workers)]
            argv += [f"--{word}-ports", *(str(worker.port) for worker in workers)]
    argv += flags(deployment.router.flags)
    # It has no page of its own for that; the framework's description of the API answers as soon as it listens.
    ready = url(asked_host(host or "127.0.0.1"), router.port, "/openapi.json")
    return _process(placement, router, Role.PROXY, argv, {"http": router.port}, ready)


def _bootstrap(worker: Placed, several: bool) -> tuple[str, ...]:
    port = worker.bootstrap_port
    told = several or worker.settings.bootstrap_port is not None or port != BOOTSTRAP_PORT
    return (str(port),) if told and port is not None else ()


def _process(
    placement: Placement, router: PlacedRouter, role: Role, argv: list[str], ports: dict[str, int], ready: str
) -> ProcessSpec:
    return ProcessSpec(
        name="router",
        role=role,
        node=router.node or placement.local_name,
        argv=tuple(argv),
        env={},
        cwd="",
        ports=ports,
        ready=Readiness(ready, placement.deployment.limits.ready_timeout_s or _READY_TIMEOUT_S),
        log="router.log",
        # Workers of MoRIIOConnector register at the router; the others it looks for, and gives up after a while.
        after=() if "discovery" in ports else placement.answering(),
    )
