"""A worker of vLLM as a process: its ports, what makes it ready, where its metrics are.

Pure; the same for all dialects of vLLM, which give the command and the connector's own ports.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..launch import ProcessSpec, Readiness
from .placement import Placed, Placement, url
from .vllm_connector import device_names

__all__ = ["READY_TIMEOUT_S", "process_of"]

READY_TIMEOUT_S = 900.0


def process_of(
    placement: Placement,
    placed: Placed,
    argv: Sequence[str],
    env: Mapping[str, str],
    ports: Mapping[str, int],
    after: tuple[str, ...] = (),
) -> ProcessSpec:
    """Returns the process; its first rank alone speaks HTTP.

    Args:
        ports: of the connector.
        after: the servers that it needs.
    """
    deployment, speaks = placement.deployment, placed.rank == 0
    own = {"http": placed.port} if speaks else {}
    if placed.dist_init and speaks:
        own["dist"] = int(placed.dist_init.rpartition(":")[2])
    names = "" if deployment.transport == "mooncake_tcp" else device_names(placed)
    return ProcessSpec(
        name=placed.name,
        role=placed.role,
        node=placed.node or placement.local_name,
        argv=tuple(argv),
        env=dict(env),
        cwd="",
        ports={**own, **ports},
        ready=Readiness(
            url(placed.address, placed.port, "/health") if speaks else "",
            deployment.limits.ready_timeout_s or READY_TIMEOUT_S,
        ),
        log=f"{placed.name}.log",
        gpus=tuple(str(gpu) for gpu in placed.gpus),
        nics=tuple(names.split(",")) if names else (),
        after=after,
        metrics_url=url(placed.address, placed.port, "/metrics") if speaks else "",
        rank=placed.rank,
    )
