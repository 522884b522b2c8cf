"""The topologies of `pdpanel bench faults`: which workers a run has, and how they are spread over ranks. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ...engine.errors import ConfigError

__all__ = ["TOPOLOGIES", "Topology", "topology_of"]

_MOST_RANKS = 16
_WHOLE_MODEL = "smollm2-135m-instruct"
_EXPERTS, _SEES = "random:mixtral-8e", "random:llava"
_PAIR = {"prefill": 2, "decode": 2}


@dataclass(frozen=True, slots=True)
class Topology:
    """What a fault run consists of.

    Attributes:
        roles: workers of each role.
        fields: of each role's workers, as a deployment has them.
        model: what is served unless another one is asked for.
        context: tokens of the model's context.
        env: variables of all processes.
        goes_on: whether a worker goes on without a rank that died.
    """

    roles: Mapping[str, int]
    fields: Mapping[str, Mapping[str, str | int]] = field(default_factory=dict)
    model: str = _WHOLE_MODEL
    context: int = 4096
    env: Mapping[str, str] = field(default_factory=dict)
    goes_on: bool = False

    @property
    def has_images(self) -> bool:
        """Whether requests have images, which encoders of their own encode."""
        return bool(self.roles.get("encoder"))

    def ranks(self, role: str) -> int:
        """Returns of how many ranks each worker of a role is."""
        return int(self.fields.get(role, {}).get("tp", 1))


def _spread(fields: Mapping[str, str | int], *roles: str) -> Mapping[str, Mapping[str, str | int]]:
    return {role: {"tp": 2, **fields} for role in roles}


def _experts(backend: str) -> Topology:
    fields = _spread({"ep": 2, "moe_a2a": backend}, "prefill", "decode")
    return Topology(_PAIR, fields, model=_EXPERTS, context=2048)


def _elastic(backend: str, roles: Mapping[str, int]) -> Topology:
    fields = _spread({"ep": 2, "moe_a2a": backend, "elastic_ep": backend}, *roles)
    return Topology(roles, fields, model=_EXPERTS, context=2048, goes_on=True)


def _encoders(transfer: str) -> Topology:
    # Nothing is kept, so that every image is asked of an encoder.
    env = {"SGLANG_VLM_CACHE_SIZE_MB": "0"}
    fields = {"encoder": {"encoder_transfer": transfer}}
    return Topology({"encoder": 2, **_PAIR}, fields, model=_SEES, context=2048, env=env)


TOPOLOGIES: Mapping[str, Topology] = {
    "pair": Topology(_PAIR),
    "groups": Topology(_PAIR, _spread({"attn_dp": 2}, "prefill", "decode")),
    "experts-gloo": _experts("gloo"),
    "experts-mooncake": _experts("mooncake"),
    "elastic-gloo": _elastic("gloo", {"unified": 2}),
    "elastic-mooncake": _elastic("mooncake", {"unified": 2}),
    "elastic-pair": _elastic("gloo", _PAIR),
    "encoders": _encoders("zmq_to_scheduler"),
    "encoders-mooncake": _encoders("mooncake"),
}
"""By name: pairs of workers of one rank, or of as many as are asked for; with two attention groups each; with experts
on two ranks; unified ones and pairs that go on without a rank; with encoders of their own."""


def topology_of(name: str, ranks: str = "") -> Topology:
    """Returns a topology by name.

    Args:
        ranks: of each prefill and each decode worker of a pair, such as 2-1; empty for one each.

    Raises:
        ConfigError: there is no such topology, or it has no such ranks.
    """
    if name not in TOPOLOGIES:
        raise ConfigError("--topology", name, "there is no such topology", f"use one of {', '.join(TOPOLOGIES)}")
    found = TOPOLOGIES[name]
    if not ranks:
        return found
    if name != "pair":
        raise ConfigError("--ranks", ranks, f"the topology {name} has its own ranks", "leave one of the two out")
    prefill, _, decode = ranks.partition("-")
    if not all(one.isascii() and one.isdigit() and 0 < int(one) <= _MOST_RANKS for one in (prefill, decode)):
        problem = "not the ranks of prefill and decode workers"
        raise ConfigError("--ranks", ranks, problem, f"write two numbers from 1 to {_MOST_RANKS}, such as 2-1")
    return replace(found, fields={"prefill": {"tp": int(prefill)}, "decode": {"tp": int(decode)}})
