"""The table of all dialects, and which one a deployment means."""

from __future__ import annotations

from collections.abc import Mapping

from ...engine.errors import ConfigError
from ..deployment import Deployment
from . import bundled
from .dialect import Dialect

__all__ = ["DIALECTS", "dialect_of"]

DIALECTS: Mapping[str, Dialect] = {dialect.name: dialect for dialect in (bundled.DIALECT,)}


def dialect_of(deployment: Deployment) -> Dialect:
    """Returns the dialect that the deployment names, else the one that speaks to its engine's version.

    Raises:
        ConfigError: the dialect it names is another engine's.
    """
    name = deployment.dialect or _usual(deployment)
    dialect = DIALECTS[name]
    if dialect.engine != deployment.engine:
        raise ConfigError("dialect", name, f"is not of the engine {deployment.engine}", f"set engine: {dialect.engine}")
    return dialect


def _usual(deployment: Deployment) -> str:
    return deployment.engine
