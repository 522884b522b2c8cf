"""A deployment with another number of workers of one role. Pure: a Deployment in, a Deployment out."""

from __future__ import annotations

from collections.abc import Mapping

from ...engine.errors import ConfigError
from ..deployment import Deployment, parse_deployment
from ..launch import Role
from .roles import SCALABLE

__all__ = ["counts_of", "scaled"]


def counts_of(deployment: Deployment) -> dict[Role, int]:
    """Returns how many workers each role that the deployment uses has."""
    every = {role: deployment.settings(role.value).count for role in SCALABLE}
    return {role: count for role, count in every.items() if count}


def scaled(deployment: Deployment, counts: Mapping[Role, int]) -> Deployment:
    """Returns `deployment` with these numbers of workers; nothing else of it changes.

    Raises:
        ConfigError: a role that it does not use, none left of one that it does, or more than a deployment may have.
    """
    used = counts_of(deployment)
    fields = deployment.model_dump(mode="python", exclude_unset=True)
    for role, count in counts.items():
        if role not in used:
            names = " and ".join(role.value for role in used)
            raise ConfigError(f"{role.value}.count", count, "is not a role of this deployment", f"scale {names}")
        if count < 1:
            remedy = "keep at least one, or stop the run"
            raise ConfigError(f"{role.value}.count", count, f"leaves no {role.value} worker", remedy)
        fields[role.value] = {**fields.get(role.value, {}), "count": count}
    return parse_deployment(fields)
