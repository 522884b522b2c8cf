"""A person's own flags of SGLang that the plan sets itself, or that a field says.

Pure. They are refused, since the plan would not know what they say.
"""

from __future__ import annotations

from ...engine.errors import ConfigError
from ..deployment_parts import RoleSpec

__all__ = ["ENGINE", "FIELD_OF_FLAG", "check_flags"]

ENGINE = "sglang"
"""Whose flags, as `panel.flags` calls it."""

# Flags whose meaning the planner has to know, and the field that says it.
_PLANNED = {
    "tp-size": "tp",
    "tp": "tp",
    "tensor-parallel-size": "tp",
    "pp-size": "pp",
    "pipeline-parallel-size": "pp",
    "dp-size": "dp",
    "dp": "dp",
    "data-parallel-size": "dp",
    "enable-dp-attention": "dp_attention",
    "attn-dp-size": "attn_dp",
    "attention-data-parallel-size": "attn_dp",
    "nnodes": "nodes",
    "node-rank": "nodes",
    "dist-init-addr": "dist_port",
    "nccl-init-addr": "dist_port",
    "base-gpu-id": "base_gpu_id",
    "disaggregation-ib-device": "nics",
    "mooncake-ib-device": "nics",
    "encoder-only": "encoder.count",
    "language-only": "encoder.count",
    "encoder-urls": "encoder.hosts",
}
FIELD_OF_FLAG = {
    "ep-size": "ep",
    "ep": "ep",
    "expert-parallel-size": "ep",
    "moe-a2a-backend": "moe_a2a",
    "elastic-ep-backend": "elastic_ep",
    "mem-fraction-static": "mem_fraction",
    "context-length": "context_length",
    "page-size": "page_size",
    "chunked-prefill-size": "chunked_prefill_size",
    "max-running-requests": "max_running_requests",
    "kv-cache-dtype": "kv_cache_dtype",
    "trust-remote-code": "trust_remote_code",
    "encoder-transfer-backend": "encoder_transfer",
}
"""Flags that a field says as well: one of the two may."""


def check_flags(settings: RoleSpec, role: str) -> None:
    """Raises ConfigError for a flag of `role` that the plan sets, or that a field says already."""
    for name, value in settings.flags.items():
        if name in _PLANNED:
            remedy = f"write it in the field {_PLANNED[name]}"
            raise ConfigError(f"{role}.flags.{name}", value, "is a flag that the plan sets itself", remedy)
        field = FIELD_OF_FLAG.get(name)
        if field is not None and getattr(settings, field) is not None:
            problem = f"is also the field {field}, which is set"
            raise ConfigError(f"{role}.flags.{name}", value, problem, "leave one of the two out")
