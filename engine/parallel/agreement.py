"""Whether the ranks of a worker were started alike, and who is missing. Pure; `rendezvous` carries the words.

The ranks of one node are children of one process and cannot differ; those of several nodes were started by several
command lines. What may differ is what concerns a node alone, such as its address, its NICs and its threads.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields
from enum import Enum

import msgspec

from ..config import ServerConfig
from ..errors import ConfigError
from ..http.guard import split_authority

__all__ = ["MeetingPlace", "Member", "compare", "missing", "node_of", "place_of", "ranks_of", "terms_of"]

_A_NODES_OWN = frozenset(
    {
        "model_path",  # what lies there is compared, not where
        "served_model_name",
        "host",
        "port",
        "disaggregation_bootstrap_port",
        "disaggregation_ib_device",
        "base_gpu_id",
        "threads",
        "niceness",
        "node_rank",
        "dist_init_addr",
        "dist_timeout",
        "random_seed",
        "chat_template",
        "api_key",
        "admin_api_key",
        "allowed_hosts",
        "shutdown_grace_period_secs",
        "log_level",
    }
)


class MeetingPlace(msgspec.Struct, frozen=True):
    """Where the ranks find each other; see `rendezvous`."""

    host: str
    port: int


def place_of(config: ServerConfig) -> MeetingPlace | None:
    """Returns where the ranks of several nodes meet; None with one node, where rank 0 takes a free port."""
    if config.nnodes == 1:
        return None
    split = split_authority(config.dist_init_addr)
    assert split is not None and split[1] is not None, "checked with the arguments"
    return MeetingPlace(split[0], split[1])


class Member(msgspec.Struct, frozen=True):
    """One rank as it introduces itself.

    Attributes:
        host: name of its machine.
        terms: what it was started with; see `terms_of`.
    """

    rank: int
    node: int
    pid: int
    host: str
    terms: dict[str, str]


def node_of(rank: int, tp: int, nodes: int) -> int:
    """Returns the node of a rank; ranks are numbered node by node."""
    return rank // (tp // nodes)


def ranks_of(config: ServerConfig, node: int) -> range:
    """Returns the ranks of a node."""
    count = config.tp_size // config.nnodes
    return range(node * count, (node + 1) * count)


def terms_of(config: ServerConfig, versions: Mapping[str, str]) -> dict[str, str]:
    """Returns what all ranks of a worker must be started with: values by flag, and versions by package."""
    terms = {
        "--" + field.name.replace("_", "-"): _text(getattr(config, field.name))
        for field in fields(config)
        if field.name not in _A_NODES_OWN
    }
    return terms | {f"version of {package}": version for package, version in versions.items()}


def _text(value: object) -> str:
    return str(value.value if isinstance(value, Enum) else value)


def compare(first: Member, members: Collection[Member], other: Member) -> ConfigError | None:
    """Returns why a rank cannot take part, None when it can.

    Args:
        first: rank 0.
        members: those that take part already.
        other: the one that comes now.
    """
    differing = [name for name in first.terms if first.terms[name] != other.terms.get(name)]
    differing += [name for name in other.terms if name not in first.terms]
    if differing:
        name, *rest = differing
        found, wanted = (member.terms.get(name, "nothing") for member in (other, first))
        who = f"rank {other.rank} on node {other.node} ({other.host})"
        problem = f"{who} was started with it, and rank 0 ({first.host}) with {wanted}"
        if rest:
            problem += f"; they differ in {', '.join(rest)}, too"
        return ConfigError(name, found, problem, "start all nodes of the worker with the same arguments and versions")
    for member in members:
        if member.rank == other.rank:
            both = f"{member.host} and {other.host}" if member.host != other.host else f"{member.host}, twice"
            problem = f"two processes came as rank {other.rank}: {both}"
            return ConfigError("--node-rank", other.node, problem, "give each node a number of its own")
    return None


def missing(config: ServerConfig, members: Collection[Member], waited_s: float) -> ConfigError | None:
    """Returns who has not come in the time, None when all ranks are there.

    Args:
        members: who has, rank 0 aside.
    """
    there = {0, *(member.rank for member in members)}
    absent = [rank for rank in range(config.tp_size) if rank not in there]
    if not absent:
        return None
    nodes = sorted({node_of(rank, config.tp_size, config.nnodes) for rank in absent})
    who = f"rank {absent[0]}" if len(absent) == 1 else f"ranks {_listed(absent)}"
    where = f"node {nodes[0]}" if len(nodes) == 1 else f"nodes {_listed(nodes)}"
    problem = f"{who} of {where} did not come within {waited_s:.3g} s"
    if config.nnodes == 1:
        return ConfigError("--tp-size", config.tp_size, problem, "look into the log, or raise --dist-timeout")
    remedy = f"start --node-rank {nodes[0]} with --dist-init-addr {config.dist_init_addr}, or raise --dist-timeout"
    return ConfigError("--nnodes", config.nnodes, problem, remedy)


def _listed(numbers: Collection[int]) -> str:
    return ", ".join(str(number) for number in numbers)
