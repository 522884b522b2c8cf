"""What kinds of routers know: the policies that they choose workers by, and where their own metrics are.

Data and its look-ups; the commands are the dialects'.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

from ...engine.errors import ConfigError
from ..deployment_parts import RouterSpec

__all__ = ["METRICS_PORT", "POLICIES", "PREFILL_POLICIES", "check_policies"]

# sglang-router 0.3.2 --help; smg 1.13 --help; vllm-router 0.1.17 router_args.py; the bundled router's own list.
_SGLANG = ("random", "round_robin", "cache_aware", "power_of_two", "manual")
_SMG = (*_SGLANG, "passthrough", "least_load", "consistent_hashing", "prefix_hash")
_VLLM = (
    *("random", "round_robin", "cache_aware", "kv_aware", "power_of_two"),
    *("consistent_hash", "sticky_least_loaded"),
)
_BUNDLED = ("random", "round_robin", "power_of_two", "cache_aware")

POLICIES: Mapping[str, tuple[str, ...]] = {
    "bundled": _BUNDLED,
    "sglang-router": _SGLANG,
    "smg": _SMG,
    "vllm-router": _VLLM,
    "mini_lb": (),
    "proxy": (),
    "ascend-proxy": (),
    "none": (),
}
"""Values of --policy and --decode-policy by the kind of router; a kind without any has no such choice."""

PREFILL_POLICIES: Mapping[str, tuple[str, ...]] = {
    **POLICIES,
    "sglang-router": (*_SGLANG, "bucket"),
    "smg": (*_SMG, "bucket"),
}
"""Values of --prefill-policy."""

METRICS_PORT: Mapping[str, int] = {"sglang-router": 29000, "smg": 29000, "vllm-router": 29000}
"""The port of a router's own metrics when nobody says otherwise; a kind without one is not here."""


def check_policies(spec: RouterSpec, kind: str) -> None:
    """Raises ConfigError when a policy is asked for that routers of this kind do not know."""
    given = [("router.policy", spec.policy, POLICIES)]
    given += [
        (f"router.flags.{name}", spec.flags.get(name), known)
        for name, known in (("prefill-policy", PREFILL_POLICIES), ("decode-policy", POLICIES))
    ]
    for field, value, known in given:
        policies = known.get(kind, ())
        if value is None or value in policies:
            continue
        if not policies:
            problem = f"means nothing to the router {kind}, which has no policies"
            raise ConfigError(field, value, problem, "leave it out, or choose another router.kind")
        near = get_close_matches(str(value).replace("-", "_"), policies, n=1)
        meant = f"did you mean {near[0]}? The router {kind} knows" if near else f"the router {kind} knows"
        raise ConfigError(field, value, f"is no policy of the router {kind}", f"{meant} {', '.join(policies)}")
