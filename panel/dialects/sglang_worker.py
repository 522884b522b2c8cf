"""One process of a SGLang worker: its command, variables, ports and what makes it ready.

Pure: puts the pieces of the other `sglang_*` modules in order. Called by `sglang` alone.
"""

from __future__ import annotations

from ..flags.translate import Translated, translate
from ..launch import ProcessSpec, Readiness, Role
from .placement import Placed, Placement, flag, flags, url
from .sglang_arguments import (
    address_arguments,
    group_arguments,
    model_arguments,
    parallel_arguments,
    size_arguments,
)
from .sglang_epd import encoder_arguments, language_arguments
from .sglang_flags import ENGINE, check_flags
from .sglang_limits import limit_env
from .sglang_store import store_arguments, store_env
from .sglang_transport import nic_names, transport_arguments, transport_env

__all__ = [
    "BOOTSTRAP_PORT",
    "LAUNCH",
    "READY_TIMEOUT_S",
    "bootstrap_arguments",
    "gpu_env",
    "process_of",
    "worker_arguments",
    "worker_process",
]

BOOTSTRAP_PORT = 8998
LAUNCH = ("python3", "-m", "sglang.launch_server")
READY_TIMEOUT_S = 1800.0


def worker_arguments(placement: Placement, placed: Placed) -> Translated:
    """Returns the worker's arguments as the deployment's version of SGLang takes them, and what was changed.

    Raises:
        ConfigError: SGLang would refuse its options.
    """
    settings, deployment = placed.settings, placement.deployment
    check_flags(settings, placed.role.value)
    arguments = (
        *model_arguments(deployment),
        *_mode(placed),
        *transport_arguments(placement, placed),
        *address_arguments(placed),
        *bootstrap_arguments(placement, placed),
        *group_arguments(placed),
        *parallel_arguments(settings, placed.role.value),
        *size_arguments(settings),
        *language_arguments(placement, placed),
        *store_arguments(placement, placed),
        *(("--enable-metrics",) if _adds_metrics(placement, placed) else ()),
        *flags(settings.flags),
    )
    return translate(ENGINE, deployment.engine_version, arguments)


def worker_process(placement: Placement, placed: Placed, after: tuple[str, ...]) -> ProcessSpec:
    """Returns the process; `after` are the servers that it needs.

    Raises:
        ConfigError: SGLang would refuse its options.
    """
    env = {
        **gpu_env(placement, placed),
        **transport_env(placement, placed),
        **limit_env(placement.deployment.limits, placed.role),
        **store_env(placement, placed),
    }
    argv = (*LAUNCH, *worker_arguments(placement, placed).arguments)
    return process_of(placement, placed, argv, env, after)


def process_of(
    placement: Placement, placed: Placed, argv: tuple[str, ...], env: dict[str, str], after: tuple[str, ...]
) -> ProcessSpec:
    """Returns the process with its ports and what makes it ready: its first rank alone speaks HTTP."""
    deployment, speaks = placement.deployment, placed.rank == 0
    ports = {"http": placed.port} if speaks else {}
    if placed.role is Role.PREFILL and placed.bootstrap_port is not None and speaks:
        ports["bootstrap"] = placed.bootstrap_port
    if placed.dist_init and speaks:
        ports["dist"] = int(placed.dist_init.rpartition(":")[2])
    metrics = speaks and "--enable-metrics" in argv
    return ProcessSpec(
        name=placed.name,
        role=placed.role,
        node=placed.node or placement.local_name,
        argv=argv,
        env=env,
        cwd="",
        ports=ports,
        ready=Readiness(
            url(placed.address, placed.port, "/health") if speaks else "",
            deployment.limits.ready_timeout_s or READY_TIMEOUT_S,
        ),
        log=f"{placed.name}.log",
        gpus=tuple(str(gpu) for gpu in placed.gpus),
        nics=() if deployment.transport == "mooncake_tcp" else nic_names(placed.nics),
        after=after,
        metrics_url=url(placed.address, placed.port, "/metrics") if metrics else "",
        info_url=url(placed.address, placed.port, "/get_server_info") if speaks else "",
        rank=placed.rank,
    )


def gpu_env(placement: Placement, placed: Placed) -> dict[str, str]:
    """Returns the variable that gives the process its GPUs or NPUs, where the deployment wants one."""
    if not placed.visible:
        return {}
    npus = placement.deployment.transport == "ascend" or placement.deployment.ascend.via_mooncake
    return {"ASCEND_RT_VISIBLE_DEVICES" if npus else "CUDA_VISIBLE_DEVICES": ",".join(placed.visible)}


def _mode(placed: Placed) -> tuple[str, ...]:
    if placed.role is Role.ENCODER:
        return encoder_arguments(placed)
    return () if placed.role is Role.UNIFIED else flag("disaggregation-mode", placed.role.value)


def bootstrap_arguments(placement: Placement, placed: Placed) -> tuple[str, ...]:
    """Returns the bootstrap port where it is not the engine's own.

    A router that is told the port hands it on with each request. Without such a router decode takes its own for
    prefill's, so it is told the same.
    """
    port = placed.bootstrap_port
    if placed.role is Role.DECODE and port is None and placement.router is None:
        others = {worker.bootstrap_port for worker in placement.first_ranks(Role.PREFILL)}
        port = others.pop() if len(others) == 1 else None
    return () if port is None or port == BOOTSTRAP_PORT else flag("disaggregation-bootstrap-port", port)


def _adds_metrics(placement: Placement, placed: Placed) -> bool:
    """Whether the plan turns metrics on; an encoder has none of those that are watched."""
    return (
        placement.deployment.observe
        and placed.role is not Role.ENCODER
        and "enable-metrics" not in placed.settings.flags
    )
