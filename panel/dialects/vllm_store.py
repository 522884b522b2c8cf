"""The files of a Mooncake Store that vLLM workers share: mooncake_config.json of the connector, LMCache's YAML.

Pure. Also says how each of the two documents starts the master.
"""

from __future__ import annotations

import json
import re

from ...engine.errors import ConfigError
from ..deployment_parts import StoreSpec
from ..launch import PlannedFile
from ..metadata.address import parse_endpoint, parse_metadata_server
from .placement import Placed, Placement, url
from .servers import MasterForm
from .vllm_connector import device_names
from .vllm_version import has, require

__all__ = ["master_form", "store_files"]

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE = re.compile(r"([0-9]{1,18})(?:\.([0-9]{1,9}))?\s?([KMGT]?)(?:i?B)?", re.IGNORECASE)
_LMCACHE_SEGMENT = 30 << 30
_LMCACHE_BUFFER = 1 << 30


def master_form(store: StoreSpec) -> MasterForm:
    """Returns how the store's document starts mooncake_master."""
    defaults = {"enable_offload": True} if store.offload else {}
    if store.kind == "lmcache":
        return MasterForm(port_always=True, serves_metadata=store.metadata is None, defaults=defaults)
    return MasterForm(port_flag="port", joined=False, port_always=True, defaults=defaults)


def store_files(placement: Placement) -> tuple[PlannedFile, ...]:
    """Returns the store's files: one that all nodes share, or for LMCache one for each worker.

    Raises:
        ConfigError: a size is none or does not go with the mode, or the roles name different NICs.
    """
    store = placement.deployment.store
    if store is None:
        return ()
    parse_endpoint(store.master, field="store.master")
    if store.kind == "lmcache":
        return tuple(
            PlannedFile(f"mooncake-{placed.name}.yaml", _lmcache(placement, store, placed), placed.node)
            for placed in placement.workers
        )
    text = json.dumps(_connector(placement, store), indent=2)
    return (PlannedFile("mooncake_config.json", text + "\n", shared=True),)


def _connector(placement: Placement, store: StoreSpec) -> dict[str, object]:
    deployment = placement.deployment
    config: dict[str, object] = {}
    modes = has(deployment, "store_mode")
    if modes:
        config["mode"] = store.mode
    elif store.mode != "embedded" or store.offload:
        require(deployment, "store_mode", "set store.mode: embedded and store.offload: false")
    config["metadata_server"] = store.metadata or "P2PHANDSHAKE"
    config["master_server_address"] = store.master
    segment = _segment(store)
    if segment is not None:
        config["global_segment_size"] = segment
    if store.buffer_size is not None:
        if _bytes("store.buffer_size", store.buffer_size) == 0:
            raise ConfigError("store.buffer_size", store.buffer_size, "leaves no room to transfer", "write 4GB or so")
        config["local_buffer_size"] = store.buffer_size
    config |= {"protocol": _protocol(placement), "device_name": _devices(placement)}
    return {**config, "enable_offload": store.offload} if modes else config


def _segment(store: StoreSpec) -> object:
    """Returns the memory that each worker lends: some of it in embedded mode, none to a store of its own."""
    text = store.segment_size
    size = None if text is None else _bytes("store.segment_size", text)
    if store.mode == "standalone-store":
        if size:
            problem = "is lent by nobody in mode standalone-store"
            raise ConfigError("store.segment_size", text, problem, "leave it out, or set store.mode: embedded")
        return 0
    if size == 0:
        problem = "lends the store nothing in mode embedded"
        raise ConfigError("store.segment_size", text, problem, "write 80GB or so, or set store.mode: standalone-store")
    return text


def _protocol(placement: Placement) -> str:
    return "tcp" if placement.deployment.transport == "mooncake_tcp" else "rdma"


def _devices(placement: Placement) -> str:
    if _protocol(placement) == "tcp":
        return ""
    chosen = {device_names(placed) for placed in placement.workers}
    if len(chosen) > 1:
        problem = "differs between workers, and the store's file is one for all"
        raise ConfigError("nics", " and ".join(sorted(chosen)), problem, "write the same list for all, or auto")
    return next(iter(chosen), "")


def _lmcache(placement: Placement, store: StoreSpec, placed: Placed) -> str:
    """Returns the configuration of one LMCache in YAML; strings are quoted as JSON does, which YAML reads alike."""
    master = parse_endpoint(store.master, field="store.master")
    server = placement.server("master")
    metadata = store.metadata or url(master.host, server.ports.get("http", 8080) if server else 8080, "/metadata")
    parse_metadata_server(metadata, field="store.metadata")
    segment = _LMCACHE_SEGMENT if store.segment_size is None else _bytes("store.segment_size", store.segment_size)
    buffer = _LMCACHE_BUFFER if store.buffer_size is None else _bytes("store.buffer_size", store.buffer_size)
    tcp = _protocol(placement) == "tcp"
    extra: dict[str, object] = {
        "local_hostname": placed.address,
        "metadata_server": metadata,
        "protocol": "tcp" if tcp else "rdma",
        "device_name": "" if tcp else device_names(placed),
        "master_server_address": store.master,
        "global_segment_size": segment,
        "local_buffer_size": buffer,
        "transfer_timeout": 1,
        "save_chunk_meta": False,
    }
    lines = [
        "chunk_size: 256",
        f"remote_url: {json.dumps(f'mooncakestore://{store.master}/')}",
        'remote_serde: "naive"',
        "local_cpu: false",
        "max_local_cpu_size: 100",
        "",
        "extra_config:",
        *(f"  {name}: {json.dumps(value)}" for name, value in extra.items()),
    ]
    return "\n".join(lines) + "\n"


def _bytes(field: str, text: str) -> int:
    """Returns a size such as 80GB or 4gb in bytes; Mooncake takes GB for 2^30."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ConfigError(field, text, "is not a size", "write a number of bytes, or one with a unit such as 80GB")
    whole, part, unit = found[1], found[2] or "", found[3].upper()
    return int((whole + part) or "0") * _UNITS[unit] // 10 ** len(part)
