"""What Mooncake is told beside the flags: the file that MOONCAKE_CONFIG_PATH names, as SGLang 0.4.5.post1 reads it.

Owns the file's keys and their rules. Knows nothing of Mooncake itself, which takes some values without a word and ends
the process for others. `engine.config` reads it once.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .errors import ConfigError

__all__ = ["P2P", "MooncakeConfig", "read_mooncake_config"]

P2P = "P2PHANDSHAKE"
_VARIABLE = "MOONCAKE_CONFIG_PATH"
_MOST_BYTES = 1 << 20
_KEYS = ("local_hostname", "metadata_server", "protocol", "device_name")
# Of other integrations; a file that several of them share may hold these.
_FOREIGN = ("master_server_address", "global_segment_size", "local_buffer_size", "metadata_backend")
_ADDRESS = r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}"
_BARE = re.compile(rf"{_ADDRESS}(?:,{_ADDRESS})*")


@dataclass(frozen=True, slots=True)
class MooncakeConfig:
    """The file's keys; empty ones leave it to the flags.

    Attributes:
        local_hostname: where peers reach this host.
        metadata_server: P2PHANDSHAKE, or the URL of the server that engines register with.
        protocol: rdma or tcp.
        device_name: RDMA devices, comma separated.
    """

    local_hostname: str = ""
    metadata_server: str = P2P
    protocol: str = ""
    device_name: str = ""


def read_mooncake_config(environ: Mapping[str, str]) -> MooncakeConfig:
    """Returns what the file says that MOONCAKE_CONFIG_PATH names; without the variable, nothing.

    Raises:
        ConfigError: the file cannot be read, or one of its keys has a value that Mooncake cannot take.
    """
    path = environ.get(_VARIABLE, "").strip()
    if not path:
        return MooncakeConfig()
    fields = _fields(path)
    for key in fields:
        if key not in _KEYS and key not in _FOREIGN:
            near = difflib.get_close_matches(key, _KEYS, n=1, cutoff=0.0)[0]
            raise ConfigError(f"{_VARIABLE}: {key}", fields[key], "is not a key of this file", f"did you mean {near}?")
    texts = {key: _text(fields, key) for key in _KEYS}
    protocol, device = texts["protocol"], texts["device_name"]
    if protocol not in {"", "rdma", "tcp"}:
        raise ConfigError(f"{_VARIABLE}: protocol", protocol, "is not known", "write rdma or tcp")
    if device and any(not name or name != name.strip() for name in device.split(",")):
        remedy = "write the devices with commas and without spaces, such as mlx5_0,mlx5_1"
        raise ConfigError(f"{_VARIABLE}: device_name", device, "holds a space or an empty name", remedy)
    server = _server(texts["metadata_server"] or P2P)
    return MooncakeConfig(texts["local_hostname"], server, protocol, "" if protocol == "tcp" else device)


def _fields(path: str) -> dict[str, object]:
    try:
        with Path(path).open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError(_VARIABLE, path, error.strerror or "cannot be read", "name a readable file") from None
    try:
        fields = json.loads(data[:_MOST_BYTES]) if len(data) <= _MOST_BYTES else None
    except (ValueError, RecursionError) as error:
        raise ConfigError(_VARIABLE, path, f"is not JSON: {str(error)[:120]}", "write one JSON object") from None
    if not isinstance(fields, dict):
        raise ConfigError(_VARIABLE, path, "is not one JSON object", "write the keys in braces")
    return fields


def _text(fields: Mapping[str, object], key: str) -> str:
    value = fields.get(key, "")
    if not isinstance(value, str):
        raise ConfigError(f"{_VARIABLE}: {key}", value, "is not text", "write it in quotes")
    return value.strip() if key != "device_name" else value


def _server(server: str) -> str:
    if server == P2P or re.fullmatch(r"(?:https?|etcd)://\S+", server):
        return server
    if server.startswith("redis://"):
        # The wheel has no plug-in for it and aborts the process (transports.md 4.1).
        raise ConfigError(
            f"{_VARIABLE}: metadata_server",
            server.rpartition("@")[2],
            "is a Redis server, and Mooncake's wheel is built without Redis",
            "use etcd://HOST:2379, http://HOST:PORT/metadata or P2PHANDSHAKE",
        )
    if _BARE.fullmatch(server):
        return f"etcd://{server}"
    raise ConfigError(
        f"{_VARIABLE}: metadata_server",
        server,
        "is not a metadata server",
        "write P2PHANDSHAKE, etcd://HOST:2379 or http://HOST:PORT/metadata",
    )
