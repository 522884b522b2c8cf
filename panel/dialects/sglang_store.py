"""SGLang's HiCache over a Mooncake Store: its options, its config file and the form of the master's command.

Pure. Prefill and unified workers keep KV in the store; decode has no prefix cache to fill from it. The servers
themselves are `servers`' business.
"""

from __future__ import annotations

import json

from ..deployment_parts import StoreSpec
from ..launch import PlannedFile, Role
from ..metadata.address import Endpoint, parse_endpoint, parse_metadata_server
from .placement import Placed, PlacedServer, Placement, url
from .servers import MasterForm
from .sglang_transport import nic_names

__all__ = ["check_store", "master_form", "store_arguments", "store_env", "store_files"]

_FILE = "mooncake_config.json"
_METADATA_PORT = 8080
_SEGMENT = "4gb"
_ROLES = (Role.PREFILL, Role.UNIFIED)
_WATERMARK = 0.95


def _uses(placement: Placement, placed: Placed) -> bool:
    return placement.deployment.store is not None and placed.role in _ROLES


def check_store(store: StoreSpec | None) -> None:
    """Raises ConfigError for addresses that are none."""
    if store is None:
        return
    parse_endpoint(store.master, field="store.master")
    if store.metadata is not None:
        parse_metadata_server(store.metadata, field="store.metadata")


def master_form(placement: Placement) -> MasterForm:
    """Returns how the master is started: with its own metadata server, unless the deployment names another."""
    store, server = placement.deployment.store, placement.server("master")
    own = store is None or store.metadata is None
    if store is not None and server is not None and store.metadata == _served(server):
        own = True
    return MasterForm(serves_metadata=own, defaults={"eviction_high_watermark_ratio": _WATERMARK})


def _served(server: PlacedServer) -> str:
    """Returns the address of the metadata server that a master may have."""
    return url(server.address, server.ports.get("http", _METADATA_PORT), "/metadata")


def store_arguments(placement: Placement, placed: Placed) -> tuple[str, ...]:
    """Returns the options of the hierarchical cache; nothing without a store."""
    if not _uses(placement, placed):
        return ()
    return ("--enable-hierarchical-cache", "--hicache-storage-backend", "mooncake")


def store_env(placement: Placement, placed: Placed) -> dict[str, str]:
    """Returns the variable that names the config file; nothing without a store."""
    return {"SGLANG_HICACHE_MOONCAKE_CONFIG_PATH": _FILE} if _uses(placement, placed) else {}


def store_files(placement: Placement) -> tuple[PlannedFile, ...]:
    """Returns one config file for each node with workers that use the store."""
    store = placement.deployment.store
    if store is None:
        return ()
    by_node: dict[str, list[Placed]] = {}
    for worker in placement.workers:
        if worker.role in _ROLES:
            by_node.setdefault(worker.node, []).append(worker)
    return tuple(
        PlannedFile(_FILE, json.dumps(_config(placement, store, workers), indent=2) + "\n", node)
        for node, workers in by_node.items()
    )


def _config(placement: Placement, store: StoreSpec, workers: list[Placed]) -> dict[str, object]:
    tcp = placement.deployment.transport == "mooncake_tcp"
    names = dict.fromkeys(name for worker in workers for name in nic_names(worker.nics))
    config: dict[str, object] = {
        "local_hostname": workers[0].address if workers[0].node else "localhost",
        "metadata_server": store.metadata or _metadata(placement, store),
        "master_server_address": _master(placement, store),
        "protocol": "tcp" if tcp else "rdma",
        "device_name": "" if tcp else ",".join(names),
        "global_segment_size": store.segment_size or _SEGMENT,
    }
    if store.offload:
        config["enable_ssd_offload"] = True
    return config


def _master(placement: Placement, store: StoreSpec) -> str:
    server = placement.server("master")
    if server is None or "rpc" not in server.ports:
        return store.master
    return str(Endpoint(server.address, server.ports["rpc"]))


def _metadata(placement: Placement, store: StoreSpec) -> str:
    server = placement.server("master")
    if server is not None:
        return _served(server)
    return url(parse_endpoint(store.master, field="store.master").host, _METADATA_PORT, "/metadata")
