"""From a Deployment to a LaunchPlan: names, ports and the dialect's commands.

Pure: the same deployment, facts and ids give the same plan. It looks at no socket, file or clock; what it
needs to know of the host comes in as `HostFacts`. `panel.runs` starts what it returns, previews and exports
show it.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..engine.errors import CapacityError, ConfigError
from .deployment import Deployment
from .dialects import bundled
from .dialects.placement import Placed, Placement, url
from .host_facts import HostFacts
from .launch import LaunchPlan, Preparation, ProcessSpec, Role
from .ports import BOOTSTRAP_BAND, ROUTER_BAND, WORKER_BAND, choose_port

__all__ = ["RunIds", "plan"]


@dataclass(frozen=True, slots=True)
class RunIds:
    """What tells one run from another: its id and its directories, absolute."""

    run_id: str
    run_dir: str
    cache_dir: str


class _Ports:
    """The ports given out so far, and those that others hold."""

    def __init__(self, host: HostFacts) -> None:
        self._taken = set(host.taken)
        self._ephemeral = host.ephemeral

    def take(self, band: range, purpose: str) -> int:
        port = choose_port(band, self._taken, self._ephemeral)
        if port is None:
            raise CapacityError(
                f"No port for {purpose} is free between {band.start} and {band.stop - 1}; stop a run and try again."
            )
        self._taken.add(port)
        return port

    def wish(self, port: int, band: range) -> int:
        if port in self._taken:
            free = choose_port(band, self._taken, self._ephemeral)
            advice = f"write {free}, which is free, or leave it out" if free else "write another one"
            raise ConfigError("router.port (--port)", port, "is in use on this host", advice)
        self._taken.add(port)
        return port


def plan(deployment: Deployment, host: HostFacts, ids: RunIds) -> LaunchPlan:
    """Returns who runs where, with what.

    Raises:
        ConfigError: the wished router port is taken.
        CapacityError: no port of a band is free.
    """
    ports = _Ports(host)
    wished = deployment.router.port
    router_port = ports.take(ROUTER_BAND, "the router") if wished is None else ports.wish(wished, ROUTER_BAND)
    workers = [
        Placed(
            name=f"{role.value}-{index}",
            role=role,
            port=ports.take(WORKER_BAND, "a worker"),
            bootstrap_port=ports.take(BOOTSTRAP_BAND, "a bootstrap") if role is Role.PREFILL else None,
        )
        # Prefill first, so that its ports are the well-known 30000 and 8998; the list below starts decode
        # first.
        for role, count in (
            (Role.PREFILL, deployment.prefill.count),
            (Role.DECODE, deployment.decode.count),
            (Role.UNIFIED, deployment.unified.count),
        )
        for index in range(count)
    ]
    placement = Placement(
        deployment=deployment,
        node=host.node,
        python=host.python,
        threads=max(1, host.cores // max(1, len(workers))),
        run_id=ids.run_id,
        run_dir=ids.run_dir,
        cache_dir=ids.cache_dir,
        workers=tuple(workers),
        router_port=router_port,
    )
    order = {Role.DECODE: 0, Role.UNIFIED: 0, Role.PREFILL: 1}
    specs: list[ProcessSpec] = [
        bundled.worker(placement, placed) for placed in sorted(workers, key=lambda placed: order[placed.role])
    ]
    specs.append(bundled.router(placement))
    prepare: Preparation | None = bundled.preparation(placement)
    return LaunchPlan(
        run_name=deployment.name,
        model=deployment.model,
        transport=deployment.transport,
        host=deployment.host,
        router_url=url(deployment.host, router_port),
        processes=tuple(specs),
        prepare=prepare,
    )
