"""A deployment as Kubernetes knows it: each process in a pod of its own, reached by the name of its Service. Pure.

The plan is made anew with these names for hosts, so that every URL in a command is one that works in the cluster. A
worker of one node has a Service with its name. One over several is a LeaderWorkerSet: addresses of its pods are marks
in the plan, since only Kubernetes knows them, and `k8s_text` replaces them by variables.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from ...engine.errors import ConfigError
from ..deployment import Deployment
from ..deployment_parts import HostSpec, MetadataSpec, RoleSpec, RouterSpec, RunSpec, StoreSpec
from ..dialects.registry import dialect_of
from ..host_facts import elsewhere
from ..launch import LaunchPlan
from ..metadata.address import Endpoint, Scheme, parse_endpoint, parse_metadata_server
from ..plan import plan as plan_of
from .k8s_text import mark

__all__ = ["Cluster", "cluster_of", "plain_name"]

_ROLES = ("prefill", "decode", "unified", "encoder")


@dataclass(frozen=True, slots=True)
class Cluster:
    """A plan for pods.

    Attributes:
        name: what the names of all objects begin with.
        plan: nodes of it are the names of Services, or of pods of a group.
        groups: the names of workers over several nodes; addresses of their pods are marks in the plan.
    """

    name: str
    plan: LaunchPlan
    groups: frozenset[str] = frozenset()


def plain_name(text: str) -> str:
    """Returns `text` as the beginning of a Service's name, which begins with a letter (RFC 1035)."""
    plain = re.sub(r"[^a-z0-9-]+", "-", text.lower()).strip("-")[:40].strip("-")
    return plain if plain[:1].isalpha() else f"pd-{plain}".strip("-")


def cluster_of(deployment: Deployment) -> Cluster:
    """Returns the plan of `deployment` for pods.

    What a deployment says of single hosts, its GPUs' numbers and how processes are run there, means nothing in a pod
    and is left out.

    Raises:
        ConfigError: the deployment cannot be planned so.
    """
    if dialect_of(deployment).name == "rocm-mad":
        problem = "is a job of Slurm's, which Kubernetes does not start"
        raise ConfigError("dialect", "rocm-mad", problem, "export it as slurm, or use the dialect sglang")
    name = plain_name(deployment.name)
    hosts: dict[str, HostSpec] = {}
    groups: list[str] = []
    update: dict[str, object] = {"run": RunSpec(), "gpu_selection": "none"}
    for role in _ROLES:
        spec = deployment.settings(role)
        if not spec.count:
            continue
        names: list[str] = []
        for index in range(spec.count):
            worker = f"{name}-{role}-{index}"
            if spec.nodes == 1:
                names.append(worker)
                continue
            members = [f"{worker}-leader", *(f"{worker}-rank{rank}" for rank in range(1, spec.nodes))]
            marks = [mark(f"{role}-{index}", rank) for rank in range(spec.nodes)]
            hosts |= {member: HostSpec(address=own) for member, own in zip(members, marks, strict=True)}
            groups.append(worker)
            names += members
        own = getattr(deployment, role)
        changes: dict[str, object] = {"hosts": names, "run": None, "base_gpu_id": None, "gpus": None}
        if spec.nodes > 1:
            leaders = [f"{name}-{role}-{index}-leader" for index in range(spec.count)]
            changes["flags"] = {**own.flags, **_answers_to(deployment, spec, leaders)}
        update[role] = own.model_copy(update=changes | _without_affinity(own.nics))
    update["workers"] = deployment.workers.model_copy(
        update={"run": None, **_without_affinity(deployment.workers.nics)}
    )
    update |= _without_affinity(deployment.nics) | {"hosts": hosts, "router": _router(deployment, name)}
    update |= _servers(deployment, name)
    if deployment.ascend.store_url:
        first = f"{name}-prefill-0"
        first = mark("prefill-0", 0) if first in groups else first
        port = urlsplit(deployment.ascend.store_url).port
        changed = f"tcp://{first}:{port}" if port else f"tcp://{first}"
        update["ascend"] = deployment.ascend.model_copy(update={"store_url": changed})
    return Cluster(name, plan_of(deployment.model_copy(update=update), elsewhere(), None), frozenset(groups))


def _answers_to(deployment: Deployment, spec: RoleSpec, names: Sequence[str]) -> dict[str, str]:
    """The bundled engine answers to the name that it is bound to alone, and pods of a group are bound to addresses."""
    if deployment.engine != "bundled":
        return {}
    given = spec.flags.get("allowed-hosts")
    return {"allowed-hosts": ",".join([*([str(given)] if given else []), *names])}


def _without_affinity(nics: object) -> dict[str, object]:
    """The nearest NICs of a GPU are a matter of one host; in a pod the device plug-in gives them."""
    return {"nics": "auto"} if nics == "affinity" else {}


def _router(deployment: Deployment, name: str) -> RouterSpec:
    if deployment.router.kind == "none":
        return deployment.router
    own = f"{name}-router"
    # The bundled router answers to the name that it is bound to alone; others listen on all addresses.
    bundled = (deployment.router.kind or dialect_of(deployment).routers[0]) == "bundled"
    return deployment.router.model_copy(update={"node": own, "run": None, "host": own if bundled else None})


def _servers(deployment: Deployment, name: str) -> dict[str, MetadataSpec | StoreSpec]:
    """Servers that the deployment starts are Services, too; those that run elsewhere stay where they are."""
    changed: dict[str, MetadataSpec | StoreSpec] = {}
    metadata, store = deployment.metadata, deployment.store
    if metadata is not None and metadata.start:
        backend = Scheme(metadata.backend) if metadata.backend else Scheme.ETCD
        endpoints = parse_metadata_server(metadata.server, field="metadata.server", backend=backend).endpoints
        text = metadata.server
        for number, endpoint in enumerate(endpoints):
            own = f"{name}-metadata" if len(endpoints) == 1 else f"{name}-metadata-{number}"
            text = text.replace(str(endpoint), str(Endpoint(own, endpoint.port)))
        node = f"{name}-metadata" if metadata.node is not None else None
        changed["metadata"] = metadata.model_copy(update={"server": text, "node": node})
    if store is not None and store.start:
        old, new = parse_endpoint(store.master, field="store.master"), f"{name}-store"
        update: dict[str, object] = {"master": str(Endpoint(new, old.port))}
        if store.metadata and store.metadata.startswith("http://"):
            (served,) = parse_metadata_server(store.metadata, field="store.metadata").endpoints
            if served.host == old.host or served.loopback:
                update["metadata"] = store.metadata.replace(str(served), str(Endpoint(new, served.port)))
        changed["store"] = store.model_copy(update=update)
    return changed
