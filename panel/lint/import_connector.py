"""From vLLM's KV transfer configurations to the fields of a deployment. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .draft import DeploymentDraft

__all__ = ["connector_names", "read_connector"]

_TRANSPORTS: Mapping[str, str] = {
    "MooncakeConnector": "mooncake",
    "NixlConnector": "nixl",
    "NixlPullConnector": "nixl",
    "MoRIIOConnector": "mori",
    "MooncakeConnectorV1": "ascend",
    "MooncakeLayerwiseConnector": "ascend",
    "MooncakeConnectorStoreV1": "ascend",
}


def connector_names(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns the connectors of some configurations, also those that a MultiConnector wraps."""
    return [str(one.get("kv_connector")) for config in configs for one in _flat(config)]


def read_connector(draft: DeploymentDraft, role: str, config: Mapping[str, Any]) -> None:
    """Takes one worker's configuration into the draft."""
    for one in _flat(config):
        name = str(one.get("kv_connector"))
        extra = one.get("kv_connector_extra_config")
        extra = extra if isinstance(extra, dict) else {}
        if name in _TRANSPORTS:
            tcp = extra.get("mooncake_protocol") == "tcp"
            draft.set("transport", "mooncake_tcp" if tcp else _TRANSPORTS[name])
        devices = extra.get("device_name")
        if isinstance(devices, str) and devices.strip() and f"{role}.nics" in draft.known:
            draft.set(f"{role}.nics", [part.strip() for part in devices.split(",") if part.strip()])
        if isinstance(extra.get("num_workers"), int) and "limits.thread_pool" in draft.known:
            draft.set("limits.thread_pool", extra["num_workers"])
        backends = extra.get("backends")
        if isinstance(backends, list) and len(backends) == 1 and "nixl.backend" in draft.known:
            draft.set("nixl.backend", str(backends[0]))
        port = one.get("kv_port")
        if str(port).isdecimal() and f"{role}.kv_port" in draft.known:
            draft.set(f"{role}.kv_port", int(str(port)))
        if name == "MooncakeStoreConnector" and draft.get("store") is None:
            draft.set("store", {"start": False})
        if name.startswith("LMCache") and draft.get("store") is None:
            draft.set("store", {"kind": "lmcache", "start": False})


def _flat(config: Mapping[str, Any], depth: int = 3) -> Iterator[Mapping[str, Any]]:
    extra = config.get("kv_connector_extra_config")
    inner = extra.get("connectors") if isinstance(extra, dict) else None
    if not isinstance(inner, list) or not depth:
        yield config
        return
    for one in inner[:16]:
        if isinstance(one, dict):
            yield from _flat(one, depth - 1)
