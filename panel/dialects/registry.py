"""The table of all dialects, and which one a deployment means."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module

from ...engine.errors import ConfigError
from ..deployment import Deployment
from .dialect import Dialect
from .placement import version_of

__all__ = ["DIALECTS", "dialect_of"]

_MODULES = {
    "bundled": "bundled",
    "sglang": "sglang",
    "sglang-legacy": "sglang_legacy",
    "vllm": "vllm",
    "vllm-v0": "vllm_v0",
    "vllm-ascend": "vllm_ascend",
    "rocm-mad": "rocm_mad",
}


class _Dialects(Mapping[str, Dialect]):
    """All dialects by name; a module is imported when its dialect is asked for, since a start needs one of them."""

    def __getitem__(self, name: str) -> Dialect:
        dialect = import_module(f".{_MODULES[name]}", __package__).DIALECT
        assert dialect.name == name
        return dialect

    def __iter__(self) -> Iterator[str]:
        return iter(_MODULES)

    def __len__(self) -> int:
        return len(_MODULES)


DIALECTS: Mapping[str, Dialect] = _Dialects()
# The only version whose workers read a mooncake.json, and the first vLLM with a connector of the V1 engine.
_SGLANG_LEGACY = (0, 4, 5, 1)
_VLLM_V1 = (0, 8, 5)


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
    numbers = version_of(deployment.engine_version)
    if deployment.engine == "sglang" and numbers == _SGLANG_LEGACY:
        return "sglang-legacy"
    if deployment.engine == "vllm":
        if deployment.transport == "ascend":
            return "vllm-ascend"
        if numbers and numbers < _VLLM_V1:
            return "vllm-v0"
    return deployment.engine
