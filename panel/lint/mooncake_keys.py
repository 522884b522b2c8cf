"""The keys of Mooncake's JSON config in each integration, and which integration a file is for. Pure data."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

__all__ = ["COMMON_KEYS", "KEYS", "PROTOCOLS", "ConfigDialect", "mooncake_dialects"]


class ConfigDialect(StrEnum):
    """Who reads the file."""

    SGLANG_PD = "SGLang 0.4.5.post1"
    VLLM_V0 = "vLLM V0's MooncakeConnector"
    VLLM_V0_STORE = "vLLM V0's store connector"
    VLLM_STORE = "vLLM's MooncakeStoreConnector"
    HICACHE = "SGLang's HiCache"
    MOONCAKE = "Mooncake's own configuration"


_BASE = ("metadata_server", "protocol", "device_name")
KEYS: Mapping[ConfigDialect, tuple[str, ...]] = {
    ConfigDialect.SGLANG_PD: ("local_hostname", *_BASE),
    ConfigDialect.VLLM_V0: ("prefill_url", "decode_url", *_BASE, "metadata_backend"),
    ConfigDialect.VLLM_V0_STORE: ("local_hostname", *_BASE, "master_server_address"),
    ConfigDialect.VLLM_STORE: (
        *("mode", *_BASE, "master_server_address", "global_segment_size", "local_buffer_size"),
        *("enable_offload", "tenant_id", "local_hostname"),
    ),
    ConfigDialect.HICACHE: (
        *("local_hostname", *_BASE, "master_server_address", "client_server_address", "global_segment_size"),
        *("master_metrics_port", "check_server", "standalone_storage", "enable_ssd_offload", "ssd_offload_path"),
        "tenant_id",
    ),
    ConfigDialect.MOONCAKE: (
        *("local_hostname", *_BASE, "master_server_address", "global_segment_size", "local_buffer_size"),
        *("enable_ssd_offload", "ssd_offload_path", "tenant_id", "enable_client_http_server", "client_http_port"),
    ),
}
COMMON_KEYS = frozenset(key for keys in KEYS.values() for key in keys)
PROTOCOLS = frozenset(
    {
        *("tcp", "rdma", "efa", "nvmeof", "nvlink", "musa", "nvlink_intra", "hip", "barex", "cxl", "ascend", "ub"),
        *("ubshmem", "maca", "sunrise_link", "rpc_only"),
    }
)
# Keys that belong to no other kind of JSON that people paste.
_TELLING = COMMON_KEYS - {"mode", "protocol", "tenant_id", "check_server"}


def mooncake_dialects(config: Mapping[Any, Any]) -> tuple[ConfigDialect, ...]:
    """Returns whose file it may be, by its keys alone; empty when it is none of Mooncake's."""
    keys = {str(key) for key in config}
    if not keys & _TELLING:
        return ()
    if keys & {"prefill_url", "decode_url", "metadata_backend"}:
        return (ConfigDialect.VLLM_V0,)
    if "mode" in keys or "enable_offload" in keys:
        return (ConfigDialect.VLLM_STORE,)
    hicache = set(KEYS[ConfigDialect.HICACHE]) - set(KEYS[ConfigDialect.MOONCAKE])
    if keys & hicache:
        return (ConfigDialect.HICACHE,)
    if keys & {"enable_client_http_server", "client_http_port"}:
        return (ConfigDialect.MOONCAKE,)
    if keys & {"global_segment_size", "local_buffer_size", "tenant_id", "enable_ssd_offload", "ssd_offload_path"}:
        found = (ConfigDialect.HICACHE, ConfigDialect.VLLM_STORE, ConfigDialect.MOONCAKE)
        return tuple(dialect for dialect in found if not keys & COMMON_KEYS - set(KEYS[dialect]))
    if "master_server_address" in keys:
        return (ConfigDialect.VLLM_V0_STORE, ConfigDialect.HICACHE, ConfigDialect.VLLM_STORE, ConfigDialect.MOONCAKE)
    return (ConfigDialect.SGLANG_PD,)
