"""The KV connector of a vLLM V1 worker: the JSON of --kv-transfer-config, and the variables and ports it needs.

Pure: made of one Placed. Knows nothing of a worker's other options, of files or of proxies.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ...engine.errors import ConfigError
from ..launch import Role
from .placement import Placed, Placement
from .vllm_version import require

__all__ = ["BOOTSTRAP_PORT", "PING_PORT", "Connector", "connector_of", "device_names"]

BOOTSTRAP_PORT = 8998
PING_PORT = 36367
_NOTIFY_PORT = 61005
_ROLES = {Role.PREFILL: "kv_producer", Role.DECODE: "kv_consumer", Role.UNIFIED: "kv_both"}
Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class Connector:
    """What a worker's command needs of its connector.

    Attributes:
        config: the JSON text of --kv-transfer-config; empty for a worker without a connector.
        ports: of the connector's own servers, by purpose.
    """

    config: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)


def connector_of(placement: Placement, placed: Placed) -> Connector:
    """Returns the connector of a worker; a unified one without a store has none.

    The text is written as vLLM's documents do: without spaces for one connector, with them for several in one.

    Raises:
        ConfigError: the version lacks the connector, or something that it needs is missing.
    """
    store = placement.deployment.store
    if placed.role is Role.ENCODER:
        return Connector()
    if store is not None and store.kind == "lmcache":
        return _lmcache(placement, placed)
    between = placed.role in {Role.PREFILL, Role.DECODE}
    parts: list[Connector] = []
    entries: list[Json] = []
    if between:
        entry, part = _BY_TRANSPORT[placement.deployment.transport](placement, placed)
        entries.append(entry)
        parts.append(part)
    if store is not None:
        require(placement.deployment, "MooncakeStoreConnector", "leave store out")
        # The one that computes prompts reads the store as well; the other keeps decoded tokens out of it.
        role = "kv_consumer" if placed.role is Role.DECODE else "kv_both"
        entries.append({"kv_connector": "MooncakeStoreConnector", "kv_role": role})
        parts.append(Connector(env={"MOONCAKE_CONFIG_PATH": "mooncake_config.json"}))
    env = {name: value for part in parts for name, value in part.env.items()}
    ports = {name: value for part in parts for name, value in part.ports.items()}
    if len(entries) < 2:
        text = json.dumps(entries[0], separators=(",", ":")) if entries else ""
        return Connector(text, env, ports)
    require(placement.deployment, "MultiConnector", "leave store out")
    extra = {"connectors": entries}
    outer = {"kv_connector": "MultiConnector", "kv_role": _ROLES[placed.role], "kv_connector_extra_config": extra}
    return Connector(json.dumps(outer), env, ports)


def device_names(placed: Placed) -> str:
    """Returns the worker's NICs as a comma list; those of all its GPUs where they are given by GPU; empty for any."""
    if not placed.nics.startswith("{"):
        return placed.nics
    by_gpu: dict[str, str] = json.loads(placed.nics)
    return ",".join(dict.fromkeys(nic for nics in by_gpu.values() for nic in nics.split(",")))


def _entry(name: str, placed: Placed, extra: Json) -> Json:
    entry: Json = {"kv_connector": name, "kv_role": _ROLES[placed.role]}
    return {**entry, "kv_connector_extra_config": extra} if extra else entry


def _mooncake(placement: Placement, placed: Placed) -> tuple[Json, Connector]:
    deployment = placement.deployment
    require(deployment, "MooncakeConnector", "set dialect: vllm-v0 for the engine of 0.6 to 0.8")
    extra: Json = {}
    if placed.role is Role.PREFILL and deployment.limits.thread_pool is not None:
        extra["num_workers"] = deployment.limits.thread_pool
    if deployment.transport == "mooncake_tcp":
        require(deployment, "mooncake_protocol", "set transport: mooncake")
        extra["mooncake_protocol"] = "tcp"
    elif names := device_names(placed):
        require(deployment, "device_name", "set nics: auto")
        extra["device_name"] = names
    env: dict[str, str] = {}
    ports: dict[str, int] = {}
    port = placed.bootstrap_port
    if port is not None:
        if placed.role is Role.PREFILL and not placed.rank:
            ports["bootstrap"] = port
        if placed.settings.bootstrap_port is not None or port != BOOTSTRAP_PORT:
            env["VLLM_MOONCAKE_BOOTSTRAP_PORT"] = str(port)
    return _entry("MooncakeConnector", placed, extra), Connector(env=env, ports=ports)


def _nixl(placement: Placement, placed: Placed) -> tuple[Json, Connector]:
    require(placement.deployment, "NixlConnector", "set unified.count in place of prefill and decode")
    backend = placement.deployment.nixl.backend
    extra: Json = {"backends": [backend]} if backend is not None else {}
    port = _kv_port(placed)
    env = {"VLLM_NIXL_SIDE_CHANNEL_PORT": str(port)}
    if placement.several_nodes:
        env["VLLM_NIXL_SIDE_CHANNEL_HOST"] = placed.address
    if names := device_names(placed):
        # UCX, which NIXL transfers by, takes a device with its port.
        env["UCX_NET_DEVICES"] = ",".join(f"{name}:1" for name in names.split(","))
    return _entry("NixlConnector", placed, extra), Connector(env=env, ports={"side-channel": port})


def _mori(placement: Placement, placed: Placed) -> tuple[Json, Connector]:
    require(placement.deployment, "MoRIIOConnector", "set transport: mooncake")
    router = placement.router
    if router is None:
        remedy = "leave router.kind out"
        raise ConfigError("router.kind", "none", "leaves MoRIIOConnector without the router it registers at", remedy)
    handshake = _kv_port(placed)
    extra: Json = {
        "proxy_ip": router.address,
        "proxy_ping_port": str(PING_PORT),
        "http_port": str(placed.port),
        "handshake_port": str(handshake),
        "notify_port": str(_notify_port(placement, placed)),
    }
    ports = {"handshake": handshake, "notify": _notify_port(placement, placed)}
    return _entry("MoRIIOConnector", placed, extra), Connector(ports=ports)


def _notify_port(placement: Placement, placed: Placed) -> int:
    """Returns the first of the worker's notify ports; each data and tensor parallel rank on a node has one."""
    before = [each for each in placement.workers if each.node == placed.node]
    before = before[: before.index(placed)]
    return _NOTIFY_PORT + sum((each.settings.tp or 1) * (each.settings.dp or 1) for each in before)


def _kv_port(placed: Placed) -> int:
    assert placed.kv_port is not None, "the dialect's port defaults have one for these roles"
    return placed.kv_port


def _lmcache(placement: Placement, placed: Placed) -> Connector:
    deployment = placement.deployment
    require(deployment, "LMCacheConnectorV1", "leave store out")
    if deployment.transport not in {"mooncake", "mooncake_tcp"}:
        problem = "carries no KV where LMCache keeps it in a Mooncake Store"
        raise ConfigError("transport", deployment.transport, problem, "write mooncake or mooncake_tcp")
    word = {Role.PREFILL: "producer", Role.DECODE: "consumer"}.get(placed.role, "both")
    extra: Json = {"discard_partial_chunks": False, "lmcache_rpc_port": f"{word}{placed.index + 1}"}
    env = {
        "LMCACHE_CONFIG_FILE": f"mooncake-{placed.name}.yaml",
        "LMCACHE_USE_EXPERIMENTAL": "True",
        # Both sides must name a chunk of the KV cache alike.
        "PYTHONHASHSEED": "0",
    }
    return Connector(json.dumps(_entry("LMCacheConnectorV1", placed, extra), separators=(",", ":")), env)


_BY_TRANSPORT: Mapping[str, Callable[[Placement, Placed], tuple[Json, Connector]]] = {
    "mooncake": _mooncake,
    "mooncake_tcp": _mooncake,
    "nixl": _nixl,
    "mori": _mori,
}
