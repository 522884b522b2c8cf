"""What a version of vLLM has, as far as the plan's own options depend on it. Pure data and comparisons.

An empty version is today's. Connectors and their keys were looked up in the published packages; `panel.flags` has the
options that a person writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...engine.errors import ConfigError
from ..deployment import Deployment
from .placement import version_of

__all__ = ["FEATURES", "Feature", "has", "require", "version"]


@dataclass(frozen=True, slots=True)
class Feature:
    """Something that came with a version; `source` says where that is known from."""

    title: str
    since: tuple[int, ...]
    source: str


_PACKAGES = "vLLM's packages 0.8.5 to 0.32 compared"
FEATURES: Mapping[str, Feature] = {
    "LMCacheConnectorV1": Feature("LMCacheConnectorV1", (0, 8, 5), _PACKAGES),
    "NixlConnector": Feature("NixlConnector", (0, 9, 2), _PACKAGES),
    "MultiConnector": Feature("MultiConnector", (0, 9, 2), _PACKAGES),
    "headless": Feature("data parallelism over several nodes (--headless)", (0, 10, 2), _PACKAGES),
    "nnodes": Feature("workers over several nodes without Ray (--nnodes)", (0, 11, 2), _PACKAGES),
    "MooncakeConnector": Feature("MooncakeConnector of the V1 engine", (0, 13), _PACKAGES),
    "MoRIIOConnector": Feature("MoRIIOConnector", (0, 16), _PACKAGES),
    "mooncake_protocol": Feature("mooncake_protocol of MooncakeConnector", (0, 16), _PACKAGES),
    "mooncake_proxy": Feature("a proxy of MooncakeConnector's own", (0, 16), "vLLM 0.15's and 0.32's documentation"),
    "MooncakeStoreConnector": Feature("MooncakeStoreConnector", (0, 21), "vLLM 0.21's documentation"),
    "store_mode": Feature("mode and enable_offload of the store connector", (0, 24), _PACKAGES),
    "ECMooncakeConnector": Feature("ECMooncakeConnector", (0, 30), _PACKAGES),
    "device_name": Feature("device_name of MooncakeConnector", (0, 28), _PACKAGES),
}


def version(deployment: Deployment) -> tuple[int, ...]:
    """Returns the numbers of the deployment's engine version; empty for today's."""
    return version_of(deployment.engine_version)


def has(deployment: Deployment, feature: str) -> bool:
    """Returns True when the deployment's version has the feature."""
    numbers = version(deployment)
    return not numbers or numbers >= FEATURES[feature].since


def require(deployment: Deployment, feature: str, remedy: str) -> None:
    """Raises ConfigError when the version is not known to have the feature; `remedy` is what else helps."""
    if has(deployment, feature):
        return
    known = FEATURES[feature]
    since = ".".join(map(str, known.since))
    problem = f"is not known to have {known.title}, which came by {since}"
    raise ConfigError("engine_version", deployment.engine_version, problem, f"use {since} or newer, or {remedy}")
