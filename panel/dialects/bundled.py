"""The bundled engine's commands: SGLang's flags with another module name.

Pure functions from a Placement to ProcessSpecs. Workers and router have no `after`: all are spawned at once,
since the router's own `/readiness` waits for its workers.
"""

from __future__ import annotations

import hashlib

from ..launch import Preparation, ProcessSpec, Readiness, Role
from .dialect import Dialect, Draft, PortDefaults
from .placement import Placed, PlacedRouter, Placement, flag, flags, url

__all__ = ["DIALECT", "build", "router_process"]

_READY_TIMEOUT_S = 600.0
_MODES = {Role.PREFILL: "prefill", Role.DECODE: "decode", Role.UNIFIED: "null"}
_MODULE = "pdpanel.engine.launch_server"


def build(placement: Placement) -> Draft:
    """Returns the commands; decode starts first, since prefill asks for its pages."""
    order = {Role.DECODE: 0, Role.UNIFIED: 0, Role.PREFILL: 1}
    workers = sorted(placement.workers, key=lambda placed: order[placed.role])
    processes = [_worker(placement, placed) for placed in workers]
    if placement.router is not None:
        processes.append(router_process(placement, placement.router))
    return Draft(tuple(processes), prepare=_preparation(placement))


def _worker(placement: Placement, placed: Placed) -> ProcessSpec:
    deployment = placement.deployment
    argv = [placement.python, "-m", _MODULE, *flag("model-path", deployment.model)]
    if deployment.served_model_name:
        argv += flag("served-model-name", deployment.served_model_name)
    argv += [*flag("disaggregation-mode", _MODES[placed.role]), *flag("host", placed.address)]
    argv += flag("port", placed.port)
    ports = {"http": placed.port}
    if placed.bootstrap_port is not None:
        argv += flag("disaggregation-bootstrap-port", placed.bootstrap_port)
        ports["bootstrap"] = placed.bootstrap_port
    if placed.role is not Role.UNIFIED:
        argv += flag("disaggregation-transfer-backend", deployment.transport)
    argv += flags(placed.settings.flags)
    return ProcessSpec(
        name=placed.name,
        role=placed.role,
        node=placed.node or placement.local_name,
        argv=tuple(argv),
        env={**_env(placement), **_rpc_ports(placement, placed)},
        cwd="",
        ports=ports,
        ready=Readiness(url(placed.address, placed.port, "/health"), _timeout(placement)),
        log=f"{placed.name}.log",
        metrics_url=url(placed.address, placed.port, "/metrics"),
        info_url=url(placed.address, placed.port, "/server_info"),
    )


def router_process(placement: Placement, placed: PlacedRouter) -> ProcessSpec:
    """Returns the bundled router's process; it serves SGLang's workers, too."""
    deployment = placement.deployment
    argv = [placement.python, "-m", "pdpanel.engine.launch_router", *flag("host", placed.listen)]
    argv += [*flag("port", placed.port), *flag("policy", deployment.router.policy or "round_robin")]
    unified = placement.first_ranks(Role.UNIFIED)
    if unified:
        argv += ["--worker-urls", *(url(worker.address, worker.port) for worker in unified)]
    else:
        argv.append("--pd-disaggregation")
        for worker in placement.first_ranks(Role.PREFILL):
            argv += ["--prefill", url(worker.address, worker.port), str(worker.bootstrap_port)]
        for worker in placement.first_ranks(Role.DECODE):
            argv += ["--decode", url(worker.address, worker.port)]
    argv += flags(deployment.router.flags)
    return ProcessSpec(
        name="router",
        role=Role.ROUTER,
        node=placed.node or placement.local_name,
        argv=tuple(argv),
        env=_env(placement),
        cwd="",
        ports={"http": placed.port},
        ready=Readiness(url(placed.address, placed.port, "/readiness"), _timeout(placement)),
        log="router.log",
    )


def _preparation(placement: Placement) -> Preparation | None:
    """The step that fetches and converts the model; only a run has a folder to do that in."""
    ids, model = placement.ids, placement.deployment.model
    if ids is None:
        return None
    return Preparation(
        argv=(placement.python, "-m", "pdpanel.engine.model.prepare", model),
        env={**_env(placement), **placement.deployment.env, "PDPANEL_RUN_ID": ids.run_id, "PDPANEL_PROCESS": "model"},
        cwd=ids.run_dir,
        marker=hashlib.sha256(f"{ids.cache_dir}\0{model}".encode()).hexdigest()[:24],
        cache_dir=ids.cache_dir,
    )


def _env(placement: Placement) -> dict[str, str]:
    env = {"PYTHONUNBUFFERED": "1"}
    if placement.threads:
        env["OMP_NUM_THREADS"] = str(placement.threads)
    if placement.ids is not None:
        env["PDPANEL_CACHE_DIR"] = placement.ids.cache_dir
    return env


def _rpc_ports(placement: Placement, placed: Placed) -> dict[str, str]:
    """The band in which Mooncake's engine listens, on all addresses."""
    band = placement.rpc_ports.get(placed.node)
    if band is None or placed.role is Role.UNIFIED:
        return {}
    return {"MC_MIN_RPC_PORT": str(band[0]), "MC_MAX_RPC_PORT": str(band[1])}


def _timeout(placement: Placement) -> float:
    return placement.deployment.limits.ready_timeout_s or _READY_TIMEOUT_S


DIALECT = Dialect(
    name="bundled",
    title="Bundled engine",
    engine="bundled",
    about="pdpanel's own engine: it runs on a laptop without a GPU, with SGLang's flags and routes.",
    fields=frozenset({"unified.count", "unified.hosts", "unified.port", "prefill.bootstrap_port"}),
    transports=("mooncake", "mooncake_tcp", "tcp"),
    routers=("bundled",),
    ports=PortDefaults(http={Role.PREFILL: 30000, Role.DECODE: 30000, Role.UNIFIED: 30000}),
    gpu_selection="none",
    build=build,
)
