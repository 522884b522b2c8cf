"""A dialect like SGLang's that makes no commands, for tests of the planner."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pdpanel.panel.dialects.dialect import Dialect, Draft, PortDefaults
from pdpanel.panel.dialects.placement import Placement
from pdpanel.panel.launch import Role

__all__ = ["Placer", "make_dialect"]

Placer = Callable[..., Placement]


def _nothing(placement: Placement) -> Draft:
    return Draft(())


def make_dialect(name: str = "like-sglang", engine: str = "sglang", **changes: Any) -> Dialect:
    fields: dict[str, Any] = {
        "name": name,
        "title": name,
        "engine": engine,
        "about": "",
        "fields": frozenset(),
        "transports": ("mooncake", "mooncake_tcp", "nixl"),
        "routers": ("sglang-router", "none"),
        "ports": PortDefaults(http={Role.PREFILL: 30000, Role.DECODE: 30001, Role.ENCODER: 30002}),
        "gpu_selection": "base-gpu-id",
        "build": _nothing,
    }
    return Dialect(**fields | changes)
