"""What the workers of a placed deployment hold, and what a load's KV needs of their NICs.

Pure: a placement, what is known of its hosts, and the model's sizes come in. `pdpanel plan` shows what it returns. What
cannot be said is said in words, since a deployment may name hosts of which nothing is known.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ...engine.errors import ConfigError
from ...nic_probe.nics.device import RdmaDevice
from ..deployment_parts import RoleSpec
from ..dialects.placement import Placed, Placement
from ..launch import Role
from ..planning.node_facts import NodeFacts
from .bandwidth import Carrier, Links, Transfer, Wanted, link_of_devices, transfer_of
from .facts import ModelFacts
from .figure import Figure
from .gpus import gpu_named
from .kv import kv_bytes_per_token
from .memory import Budget, Memory, memory_of
from .parallelism import Parallelism
from .precision import Precision
from .weights import weights_bytes

__all__ = ["RoleSizes", "Sizes", "parallelism_of", "sizes_of"]

_FRACTION = 0.9
_LENGTH = 4096
_TCP = frozenset({"mooncake_tcp", "tcp"})


@dataclass(frozen=True, slots=True)
class RoleSizes:
    """One worker of a role.

    Attributes:
        workers: how many the role has.
        parallel: how each is spread.
        memory: None when the memory of its GPUs is not known; `figures` has what can be said without.
        figures: weights and KV by what they say.
        unknown: why there is no `memory`; empty when there is.
    """

    role: str
    workers: int
    parallel: Parallelism
    memory: Memory | None
    figures: Mapping[str, Figure]
    unknown: str = ""


@dataclass(frozen=True, slots=True)
class Sizes:
    """All that can be said of a placed deployment's sizes.

    Attributes:
        transfer: None when there is no load, or no rate of the NICs is known.
        unknown: why there is no `transfer`; empty when there is.
    """

    roles: tuple[RoleSizes, ...]
    transfer: Transfer | None = None
    unknown: str = ""


def parallelism_of(spec: RoleSpec) -> Parallelism:
    """Returns how a worker with these settings is spread.

    Raises:
        ConfigError: ep or the copies of the attention do not divide tp.
    """
    attention = spec.attn_dp or (spec.dp if spec.dp_attention else None) or 1
    ep = spec.ep or (spec.tp if spec.moe_a2a else None) or 1
    return Parallelism(spec.tp or 1, spec.pp or 1, ep, attention)


def sizes_of(
    facts: ModelFacts,
    placement: Placement,
    nodes: Mapping[str, NodeFacts],
    *,
    prompt: int | None = None,
    output: int = 0,
    rate: float | None = None,
    precision: Precision | None = None,
) -> Sizes:
    """Returns the memory of each role's workers, and what the load needs of the NICs.

    Args:
        facts: the model.
        nodes: what is known of hosts, by name.
        prompt: tokens of a prompt; without it requests are as long as the context.
        output: tokens of an answer.
        rate: requests per second; without it nothing is said of the NICs.
        precision: of the weights; as the model's file says when None.

    Raises:
        ConfigError: a size of a worker or a dtype makes no sense.
    """
    deployment = placement.deployment
    roles: list[RoleSizes] = []
    for role in (Role.PREFILL, Role.DECODE, Role.UNIFIED):
        firsts = placement.first_ranks(role)
        if firsts:
            spec = firsts[0].settings
            length = (prompt or 0) + output or spec.context_length or min(facts.context_length or _LENGTH, _LENGTH)
            memory = _gpu_memory(placement, role, nodes)
            roles.append(_role(facts, role, len(firsts), spec, memory, length, precision))
    if not placement.of_role(Role.DECODE):
        return Sizes(tuple(roles), None, "Nothing is sent: there are no decode workers.")
    if deployment.transport == "shm":
        return Sizes(tuple(roles), None, "No NIC is asked for anything: the KV is copied within the host.")
    if prompt is None or rate is None:
        return Sizes(tuple(roles), None, "Give --prompt and --rate to hold the KV of a load against the NICs.")
    carrier = Carrier.TCP if deployment.transport in _TCP else Carrier.RDMA
    sides = [_links(placement.of_role(role), nodes, carrier) for role in (Role.PREFILL, Role.DECODE)]
    if sides[0] is None or sides[1] is None:
        why = "The rate of the NICs is not known: give nics and nic_gbps of the hosts, or name their dumps."
        return Sizes(tuple(roles), None, why)
    decode = placement.first_ranks(Role.DECODE)
    transfer = transfer_of(
        facts,
        Wanted(rate, prompt),
        sides[0],
        sides[1],
        prefill_workers=len(placement.first_ranks(Role.PREFILL)),
        decode_workers=len(decode),
        kv_dtype=_kv_dtype(decode[0].settings, facts),
        parallel=parallelism_of(decode[0].settings),
    )
    return Sizes(tuple(roles), transfer)


def _role(
    facts: ModelFacts,
    role: Role,
    workers: int,
    spec: RoleSpec,
    gpu_bytes: int,
    length: int,
    precision: Precision | None,
) -> RoleSizes:
    parallel, kv_dtype = parallelism_of(spec), _kv_dtype(spec, facts)
    weights = weights_bytes(facts, parallel, precision)
    kv = kv_bytes_per_token(facts, kv_dtype, parallel)
    figures = {
        "weights": weights[0],
        "weights on a GPU": weights[1],
        "KV of one token": kv[0],
        "KV of one token on a GPU": kv[1],
    }
    if not gpu_bytes:
        why = "The memory of the GPUs is not known: give gpu or gpu_memory_gib of the hosts, or name their dumps."
        return RoleSizes(role.value, workers, parallel, None, figures, why)
    budget = Budget(gpu_bytes, spec.mem_fraction or _FRACTION, kv_dtype=kv_dtype, precision=precision)
    memory = memory_of(facts, budget, length, parallel)
    figures |= {"reserve": memory.reserve, "tokens that fit": memory.tokens, "requests that fit": memory.requests}
    return RoleSizes(role.value, workers, parallel, memory, figures)


def _kv_dtype(spec: RoleSpec, facts: ModelFacts) -> str:
    wanted = spec.kv_cache_dtype
    if wanted is None or wanted == "auto":
        return {4: "fp32", 2: "bf16"}.get(facts.dtype_bytes, "bf16")
    return wanted


def _gpu_memory(placement: Placement, role: Role, nodes: Mapping[str, NodeFacts]) -> int:
    """Returns the memory of the smallest GPU among the role's hosts; 0 when that of one is not known."""
    found: list[int] = []
    named: dict[str, int] = {}
    for worker in placement.of_role(role):
        known = nodes.get(worker.node)
        size = known.gpu_memory_bytes if known else 0
        name = known.gpu if known else ""
        if not size and name:
            if name not in named:
                named[name] = _memory_of_gpu(name)
            size = named[name]
        found.append(size)
    return min(found, default=0)


def _memory_of_gpu(name: str) -> int:
    try:
        return int(gpu_named(name).memory_bytes)
    except ConfigError:
        return 0


def _links(workers: Sequence[Placed], nodes: Mapping[str, NodeFacts], carrier: Carrier) -> Links | None:
    """Returns the NICs of the role's worker that has the least; None when those of one are not known."""
    # Workers of a role that use the same NICs of a host share them.
    users: Counter[tuple[str, str]] = Counter()
    for worker in workers:
        users.update((worker.node, nic) for nic in _names(worker, nodes.get(worker.node) or NodeFacts()))
    found: dict[int, Links] = {}
    for worker in workers:
        links = _links_of(worker, nodes.get(worker.node), carrier)
        if links is None:
            return None
        shared = max(users[worker.node, nic] for nic in _names(worker, nodes[worker.node]))
        links = replace(links, rate_gbps=links.rate_gbps / shared)
        before = found.get(worker.index)
        found[worker.index] = (
            links
            if before is None
            else Links(min(before.rate_gbps, links.rate_gbps), before.count + links.count, carrier)
        )
    return min(found.values(), key=lambda links: links.speed.value, default=None)


def _links_of(worker: Placed, facts: NodeFacts | None, carrier: Carrier) -> Links | None:
    if facts is None:
        return None
    names = _names(worker, facts)
    if not names:
        return None
    if facts.host is not None and not facts.nic_gbps:
        devices: Sequence[RdmaDevice] = facts.host.rdma.otherwise(())
        return link_of_devices((device for device in devices if device.name in names), carrier)
    return Links(facts.nic_gbps, len(names), carrier) if facts.nic_gbps else None


def _names(worker: Placed, facts: NodeFacts) -> frozenset[str]:
    """Returns the NICs that a process is told to use, or all of its host where the engine chooses."""
    text = worker.nics
    if text.startswith("{"):
        return frozenset(nic for nics in json.loads(text).values() for nic in nics.split(","))
    return frozenset(text.split(",") if text else facts.nics or ())
