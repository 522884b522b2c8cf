"""The routers of SGLang's pairs: sglang-router, its successor smg, its mini load balancer, and the bundled one.

Pure. Workers are named by URL; the bootstrap port of a prefill worker stands behind its URL where it cannot be taken
for granted.
"""

from __future__ import annotations

import ipaddress

from ...engine.errors import ConfigError
from ..launch import ProcessSpec, Readiness, Role
from .bundled import router_process as bundled_router
from .placement import PlacedRouter, Placement, flag, flags, url
from .routers import METRICS_PORT
from .sglang_worker import BOOTSTRAP_PORT, READY_TIMEOUT_S
from .smoke_request import asked_host

__all__ = ["KINDS", "router_process"]

KINDS = ("sglang-router", "smg", "mini_lb", "bundled", "none")
_LAUNCH = {
    "sglang-router": ("python3", "-m", "sglang_router.launch_router"),
    "mini_lb": ("python3", "-m", "sglang_router.launch_router"),
    "smg": ("smg", "launch"),
}


def router_process(placement: Placement, placed: PlacedRouter) -> ProcessSpec:
    """Returns the router, which is started once all workers are ready.

    Raises:
        ConfigError: workers that the router cannot serve.
    """
    if placed.kind == "bundled":
        return bundled_router(placement, placed)
    deployment = placement.deployment
    argv = [*_LAUNCH[placed.kind], *_workers(placement, placed.kind)]
    if deployment.router.policy is not None:
        argv += flag("policy", deployment.router.policy)
    argv += [*flag("host", placed.listen), *flag("port", placed.port)]
    ports, metrics_url = {"http": placed.port}, ""
    if placed.kind != "mini_lb":
        metrics_port = placed.metrics_port or METRICS_PORT[placed.kind]
        if deployment.router.metrics_port is not None or metrics_port != METRICS_PORT[placed.kind]:
            argv += flag("prometheus-port", metrics_port)
        loopback = _loopback(placed.listen)
        if loopback and "prometheus-host" not in deployment.router.flags:
            # Its metrics would else be open on all addresses.
            argv += flag("prometheus-host", loopback)
        ports["metrics"] = metrics_port
        metrics_url = url(asked_host(placed.listen), ports["metrics"], "/metrics")
    argv += flags(deployment.router.flags)
    page = "/health" if placed.kind == "mini_lb" else "/readiness"
    return ProcessSpec(
        name="router",
        role=Role.ROUTER,
        node=placed.node or placement.local_name,
        argv=tuple(argv),
        env={},
        cwd="",
        ports=ports,
        ready=Readiness(
            url(asked_host(placed.listen), placed.port, page), deployment.limits.ready_timeout_s or READY_TIMEOUT_S
        ),
        log="router.log",
        after=placement.answering(),
        metrics_url=metrics_url,
    )


def _workers(placement: Placement, kind: str) -> list[str]:
    unified = placement.first_ranks(Role.UNIFIED)
    if unified:
        if kind == "mini_lb":
            remedy = "write router.kind: sglang-router, or none for one worker"
            raise ConfigError("router.kind", kind, "serves pairs of prefill and decode alone", remedy)
        return ["--worker-urls", *(url(worker.address, worker.port) for worker in unified)]
    prefill = placement.first_ranks(Role.PREFILL)
    told = len(prefill) > 1 or any(
        worker.bootstrap_port != BOOTSTRAP_PORT or worker.settings.bootstrap_port is not None for worker in prefill
    )
    words = ["--pd-disaggregation", *(("--mini-lb",) if kind == "mini_lb" else ())]
    for worker in prefill:
        words += ["--prefill", url(worker.address, worker.port), *([str(worker.bootstrap_port)] if told else [])]
    for worker in placement.first_ranks(Role.DECODE):
        words += ["--decode", url(worker.address, worker.port)]
    return words


def _loopback(host: str) -> str:
    """Returns the loopback address that `host` means; empty when others can reach it."""
    if host == "localhost":
        return "127.0.0.1"
    try:
        return host if ipaddress.ip_address(host).is_loopback else ""
    except ValueError:
        return ""
