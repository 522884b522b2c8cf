"""What a version of SGLang has, as far as the plan's own options depend on it. Pure data and comparisons.

An empty version is today's. Options are translated by `panel.flags`; this is about values and variables.
"""

from __future__ import annotations

from ..deployment import Deployment
from ..deployment_parts import RoleSpec
from .placement import version_of

__all__ = ["attention_ranks", "band_env", "has_mooncake_tcp", "version"]

_MOONCAKE_TCP_SINCE = (0, 5, 14)
# From about then on it comes with a Mooncake of May 2026 or newer.
_SPELLED_RIGHT = (0, 5, 13)


def version(deployment: Deployment) -> tuple[int, ...]:
    """Returns the numbers of the deployment's engine version; empty for today's."""
    return version_of(deployment.engine_version)


def attention_ranks(settings: RoleSpec) -> int:
    """Returns over how many ranks attention is spread within tp; 1 without DP attention."""
    return settings.attn_dp or (settings.dp or 1 if settings.dp_attention else 1)


def has_mooncake_tcp(numbers: tuple[int, ...]) -> bool:
    """Returns True where the transfer backend mooncake_tcp exists."""
    return not numbers or numbers >= _MOONCAKE_TCP_SINCE


def band_env(band: tuple[int, int], numbers: tuple[int, ...]) -> dict[str, str]:
    """Returns the variables of Mooncake's band of RPC ports.

    Mooncake before 0.3.11 (May 2026) knew them by another spelling alone, and newer ones read both: Mooncake#2037.
    """
    spellings = ("RPC", "PRC") if numbers and numbers < _SPELLED_RIGHT else ("RPC",)
    ends = (("MIN", band[0]), ("MAX", band[1]))
    return {f"MC_{end}_{spelling}_PORT": str(port) for spelling in spellings for end, port in ends}
