"""The Mooncake configs that scripts name: which files they are, and what they say to a deployment. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .mooncake_keys import ConfigDialect, mooncake_dialects

__all__ = ["config_fields", "named_configs"]

_NAMED = re.compile(
    r"(?:MOONCAKE_CONFIG_PATH|SGLANG_HICACHE_MOONCAKE_CONFIG_PATH)[=:]\s{0,4}[\"']?([\w./-]{1,200}\.json)"
)


def named_configs(text: str) -> tuple[str, ...]:
    """Returns the names of the files that a script names as configs, without their folders."""
    return tuple(dict.fromkeys(match.group(1).rpartition("/")[2] for match in _NAMED.finditer(text[: 1 << 20])))


def config_fields(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a config says, as the fields of a deployment; empty fields are left out.

    What a dialect writes into the file by itself, such as local_hostname, is not here. `kv_places` is no field: it has
    the host and the connector's port of each role.
    """
    dialects = mooncake_dialects(config)
    fields: dict[str, Any] = {}
    devices = config.get("device_name")
    if isinstance(devices, str) and devices.strip():
        fields["nics"] = [name for part in devices.split(",") for name in part.split()]
    if config.get("protocol") == "tcp":
        fields["transport"] = "mooncake_tcp"
    server = config.get("metadata_server")
    store = bool(dialects) and dialects[0] in {ConfigDialect.VLLM_STORE, ConfigDialect.HICACHE, ConfigDialect.MOONCAKE}
    if store:
        fields["store"] = _store(config)
    elif isinstance(server, str) and server:
        backend = config.get("metadata_backend")
        fields["metadata"] = {"server": server, **({"backend": backend} if isinstance(backend, str) else {})}
    for role in ("prefill", "decode"):
        url = config.get(f"{role}_url")
        host, _, port = url.rpartition(":") if isinstance(url, str) else ("", "", "")
        if port.isdecimal() and len(port) < 6:
            fields.setdefault("kv_places", {})[role] = (host.strip("[]"), int(port))
    return fields


def _store(config: Mapping[str, Any]) -> dict[str, Any]:
    store: dict[str, Any] = {"start": False}
    for key, name in (
        ("master_server_address", "master"),
        ("global_segment_size", "segment_size"),
        ("local_buffer_size", "buffer_size"),
        ("metadata_server", "metadata"),
        ("mode", "mode"),
    ):
        value = config.get(key)
        if value not in (None, "", 0):
            store[name] = str(value)
    if store.get("metadata") == "P2PHANDSHAKE":
        del store["metadata"]
    if config.get("enable_offload") is True or config.get("enable_ssd_offload") is True:
        store["offload"] = True
    return store
