"""The table of all dialects, and which one a deployment means."""

from __future__ import annotations

from collections.abc import Mapping

from ...engine.errors import ConfigError
from ..deployment import Deployment
from . import bundled, sglang, sglang_legacy
from .dialect import Dialect
from .placement import version_of

__all__ = ["DIALECTS", "dialect_of"]

_ALL = (bundled.DIALECT, sglang.DIALECT, sglang_legacy.DIALECT)
DIALECTS: Mapping[str, Dialect] = {dialect.name: dialect for dialect in _ALL}
# The only version whose workers read a mooncake.json, and the first whose vLLM has the V1 connector.
_SGLANG_LEGACY = (0, 4, 5, 1)
_VLLM_V1 = (0, 9)


def dialect_of(deployment: Deployment) -> Dialect:
    """Returns the dialect that the deployment names, else the one that speaks to its engine's version.

    Raises:
        ConfigError: the dialect it names is another engine's.
    """
    name = deployment.dialect or _usual(deployment)
    if name not in DIALECTS:
        raise ConfigError("dialect", name, "is not written yet", f"write one of {', '.join(DIALECTS)}")
    dialect = DIALECTS[name]
    if dialect.engine != deployment.engine:
        raise ConfigError("dialect", name, f"is not of the engine {deployment.engine}", f"set engine: {dialect.engine}")
    return dialect


def _usual(deployment: Deployment) -> str:
    numbers = version_of(deployment.engine_version)
    if deployment.engine == "sglang" and numbers == _SGLANG_LEGACY:
        return "sglang-legacy"
    if deployment.engine == "vllm":
        if deployment.transport == "ascend":
            return "vllm-ascend"
        if numbers and numbers < _VLLM_V1:
            return "vllm-v0"
    return deployment.engine
