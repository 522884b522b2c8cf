"""The bundled engine's commands: SGLang's flags with another module name.

Pure functions from a Placement to ProcessSpecs. Workers and router have no `after`: all are spawned at once,
since the router's own `/readiness` waits for its workers.
"""

from __future__ import annotations

import hashlib

from ..deployment import RoleSpec
from ..launch import Preparation, ProcessSpec, Readiness, Role
from .placement import Placed, Placement, flag, flags, url

__all__ = ["preparation", "router", "worker"]

_READY_TIMEOUT_S = 600.0
_MODES = {Role.PREFILL: "prefill", Role.DECODE: "decode", Role.UNIFIED: "null"}


def worker(placement: Placement, placed: Placed) -> ProcessSpec:
    """Returns the process of one prefill, decode or unified worker."""
    deployment = placement.deployment
    spec = _role_spec(placement, placed.role)
    argv = [placement.python, "-m", "pdpanel.engine.launch_server", *flag("model-path", deployment.model)]
    if deployment.served_model_name:
        argv += flag("served-model-name", deployment.served_model_name)
    argv += [*flag("disaggregation-mode", _MODES[placed.role]), *flag("host", deployment.host)]
    argv += flag("port", placed.port)
    ports = {"http": placed.port}
    if placed.bootstrap_port is not None:
        argv += flag("disaggregation-bootstrap-port", placed.bootstrap_port)
        ports["bootstrap"] = placed.bootstrap_port
    if placed.role is not Role.UNIFIED:
        argv += flag("disaggregation-transfer-backend", deployment.transport)
    argv += flags(spec.flags)
    return ProcessSpec(
        name=placed.name,
        role=placed.role,
        node=placement.node,
        argv=tuple(argv),
        env=_env(placement, placed.name),
        cwd=placement.run_dir,
        ports=ports,
        ready=Readiness(url(deployment.host, placed.port, "/health"), _READY_TIMEOUT_S),
        log=f"{placed.name}.log",
        metrics_url=url(deployment.host, placed.port, "/metrics"),
        info_url=url(deployment.host, placed.port, "/server_info"),
    )


def router(placement: Placement) -> ProcessSpec:
    """Returns the router's process, in front of all workers."""
    deployment = placement.deployment
    host, port = deployment.host, placement.router_port
    argv = [placement.python, "-m", "pdpanel.engine.launch_router", *flag("host", host), *flag("port", port)]
    argv += flag("policy", deployment.router.policy)
    unified = placement.of_role(Role.UNIFIED)
    if unified:
        argv += ["--worker-urls", *(url(host, placed.port) for placed in unified)]
    else:
        argv.append("--pd-disaggregation")
        for placed in placement.of_role(Role.PREFILL):
            argv += ["--prefill", url(host, placed.port), str(placed.bootstrap_port)]
        for placed in placement.of_role(Role.DECODE):
            argv += ["--decode", url(host, placed.port)]
    argv += flags(deployment.router.flags)
    return ProcessSpec(
        name="router",
        role=Role.ROUTER,
        node=placement.node,
        argv=tuple(argv),
        env=_env(placement, "router"),
        cwd=placement.run_dir,
        ports={"http": port},
        ready=Readiness(url(host, port, "/readiness"), _READY_TIMEOUT_S),
        log="router.log",
    )


def preparation(placement: Placement) -> Preparation:
    """Returns the step that fetches and converts the model."""
    model = placement.deployment.model
    return Preparation(
        argv=(placement.python, "-m", "pdpanel.engine.model.prepare", model),
        env=_env(placement, "model"),
        cwd=placement.run_dir,
        marker=hashlib.sha256(f"{placement.cache_dir}\0{model}".encode()).hexdigest()[:24],
        cache_dir=placement.cache_dir,
    )


def _role_spec(placement: Placement, role: Role) -> RoleSpec:
    deployment = placement.deployment
    return {
        Role.PREFILL: deployment.prefill,
        Role.DECODE: deployment.decode,
        Role.UNIFIED: deployment.unified,
    }[role]


def _env(placement: Placement, name: str) -> dict[str, str]:
    return {
        "OMP_NUM_THREADS": str(placement.threads),
        "PYTHONUNBUFFERED": "1",
        **placement.deployment.env,
        "PDPANEL_CACHE_DIR": placement.cache_dir,
        "PDPANEL_RUN_ID": placement.run_id,
        "PDPANEL_PROCESS": name,
    }
