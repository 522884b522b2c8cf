"""From a Deployment to a LaunchPlan: its fields are checked, all is placed, and the dialect writes it down.

Pure: the same deployment, facts and ids give the same plan. It looks at no socket, file or clock; what it needs to know
of this host comes in as `HostFacts`, of others as `Nodes`. `panel.runs` starts what it returns, previews and exports
show it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from .deployment import Deployment
from .dialects.dialect import Draft
from .dialects.placement import Placed, PlacedRouter, PlacedServer, Placement, RunIds, url
from .dialects.registry import DIALECTS, dialect_of
from .host_facts import HostFacts
from .launch import LaunchPlan, ProcessSpec, Restart
from .planning.fields import check_fields
from .planning.hosts import HostTable
from .planning.kept import Kept
from .planning.node_facts import Nodes
from .planning.order import check_order
from .planning.place import place
from .planning.running import run_by

__all__ = ["RunIds", "plan"]

_RDMA = frozenset({"mooncake", "nixl", "mori"})


def plan(
    deployment: Deployment,
    host: HostFacts,
    ids: RunIds | None,
    nodes: Nodes | None = None,
    kept: Kept | None = None,
) -> LaunchPlan:
    """Returns who runs where, with what.

    Args:
        deployment: what is wanted.
        host: this host; `elsewhere()` when the plan is for others.
        ids: of the run to start; None for a plan that is shown or exported.
        nodes: what is known of the hosts that the deployment names.
        kept: what running processes of this deployment have and keep.

    Raises:
        ConfigError: a field does not fit the dialect or the hosts, or a wished port is taken.
        CapacityError: no port of a band is free.
    """
    dialect = dialect_of(deployment)
    check_fields(deployment, dialect, DIALECTS)
    placement = place(deployment, dialect, host, ids, nodes or {}, kept)
    draft = dialect.build(placement)
    common = {**draft.env, **deployment.env}
    router = placement.router
    check_order(draft.processes)
    hosts = HostTable(deployment)
    places: dict[str, Placed | PlacedRouter | PlacedServer] = {worker.name: worker for worker in placement.workers}
    places |= {server.name: server for server in placement.servers}
    if router is not None:
        places["router"] = router
    return LaunchPlan(
        run_name=deployment.name,
        model=deployment.model,
        transport=deployment.transport,
        host=deployment.host,
        router_url=url(_reached(placement), router.port) if router else "",
        processes=tuple(_complete(spec, placement, draft, places, hosts) for spec in draft.processes),
        files=draft.files,
        prepare=draft.prepare,
        dialect=dialect.name,
        engine_version=deployment.engine_version or dialect.version,
        addresses=placement.addresses,
        env=common,
        requests=draft.requests,
        findings=draft.findings,
        restart=Restart(deployment.restart),
    )


def _reached(placement: Placement) -> str:
    router = placement.router
    assert router is not None
    return router.address if router.node else placement.deployment.host


def _complete(
    spec: ProcessSpec,
    placement: Placement,
    draft: Draft,
    places: Mapping[str, Placed | PlacedRouter | PlacedServer],
    hosts: HostTable,
) -> ProcessSpec:
    """Adds what every process gets: the person's variables, the run's, its folder, and how it is run."""
    deployment, ids = placement.deployment, placement.ids
    placed = places.get(spec.name)
    host = hosts.spec(placed.node) if placed else None
    own = placed.settings.env if isinstance(placed, Placed) else {}
    if isinstance(placed, PlacedRouter):
        own = deployment.router.env
    env = {**draft.env, **spec.env, **deployment.env, **own, **(host.env if host else {})}
    if ids is not None:
        env |= {"PDPANEL_RUN_ID": ids.run_id, "PDPANEL_PROCESS": spec.name}
    complete = replace(spec, env=env, cwd=spec.cwd or (ids.run_dir if ids else ""))
    if placed is None:
        return complete
    accelerated = deployment.engine != "bundled"
    return run_by(
        complete,
        placed.run,
        f"{deployment.name}-{spec.name}",
        gpus=isinstance(placed, Placed) and accelerated,
        rdma=isinstance(placed, Placed) and accelerated and deployment.transport in _RDMA,
    )
