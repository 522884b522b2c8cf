"""A person's own flags of SGLang: which the plan sets itself, and which take several values.

Pure. What a field of the deployment says is refused here, since the plan would not know of it.
"""

from __future__ import annotations

from collections.abc import Mapping

from ...engine.errors import ConfigError
from ..deployment_parts import Flag, RoleSpec
from ..flags.table import Kind, load_table
from .placement import flag

__all__ = ["ENGINE", "check_flags", "flag_arguments"]

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
# Flags that a field says as well: one of the two may.
_FIELDS = {
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


def check_flags(settings: RoleSpec, role: str) -> None:
    """Raises ConfigError for a flag of `role` that the plan sets, or that a field says already."""
    for name, value in settings.flags.items():
        if name in _PLANNED:
            remedy = f"write it in the field {_PLANNED[name]}"
            raise ConfigError(f"{role}.flags.{name}", value, "is a flag that the plan sets itself", remedy)
        field = _FIELDS.get(name)
        if field is not None and getattr(settings, field) is not None:
            problem = f"is also the field {field}, which is set"
            raise ConfigError(f"{role}.flags.{name}", value, problem, "leave one of the two out")


def flag_arguments(flags: Mapping[str, Flag]) -> tuple[str, ...]:
    """Returns the arguments of a person's flags: True gives the bare flag, False nothing, a list its words."""
    table = load_table(ENGINE)
    arguments: list[str] = []
    for name, value in flags.items():
        option = table.options.get(f"--{name}") if table else None
        if value is True:
            arguments.append(f"--{name}")
        elif value is not False and option is not None and option.kind is Kind.LIST:
            arguments += [f"--{name}", *str(value).split()]
        elif value is not False:
            arguments += flag(name, value)
    return tuple(arguments)
