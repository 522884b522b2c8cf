"""What SGLang refuses at its start, said before: combinations of fields and flags, by its own rules of 0.5.23.

Pure: raises ConfigError with the field to change. What starts and does something else than was meant is a note in
`sglang_notes`.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...engine.errors import ConfigError
from ..deployment import Deployment
from ..deployment_parts import RoleSpec
from ..launch import Role
from ..planning.fields import set_fields
from .placement import Placement
from .sglang_limits import check_limits
from .sglang_store import check_store
from .sglang_transport import check_transport
from .sglang_version import attention_ranks

__all__ = ["check_placement"]

_ALLOCATION = "disaggregation-decode-allocation-policy"
_RADIX = "disaggregation-decode-enable-radix-cache"
_SWITCH = "enable-pd-role-switch"
_THRESHOLD = "disaggregation-decode-host-receive-threshold"
# Fields about the KV transfer of a pair, which unified workers do not have.
_PAIR_FIELDS = ("nvlink", "nixl.", "ascend.store_url", "ascend.via_mooncake", "limits.")
_ANY_FIELDS = ("limits.ready_timeout_s",)


def check_placement(placement: Placement) -> None:
    """Raises ConfigError for the first combination that SGLang would refuse."""
    deployment = placement.deployment
    check_transport(deployment)
    check_limits(deployment.limits)
    check_store(deployment.store)
    if deployment.unified.count:
        _check_unified(deployment)
    for role in (Role.PREFILL, Role.DECODE, Role.UNIFIED, Role.ENCODER):
        settings = deployment.settings(role.value)
        if not settings.count:
            continue
        if role in (Role.PREFILL, Role.DECODE):
            _check_pair_role(deployment, settings, role)
        if settings.encoder_transfer is not None and not deployment.encoder.count:
            problem = "has no encoders to take images from"
            _refuse(f"{role.value}.encoder_transfer", settings.encoder_transfer, problem, "set encoder.count")


def _refuse(field: str, value: object, problem: str, remedy: str) -> None:
    raise ConfigError(field, value, problem, remedy)


def _check_unified(deployment: Deployment) -> None:
    for field in set_fields(deployment):
        if field.startswith(_PAIR_FIELDS) and field not in _ANY_FIELDS:
            problem = "is about the way from prefill to decode, and unified workers do both"
            value: object = deployment
            for name in field.split("."):
                value = getattr(value, name)
            raise ConfigError(field, value, problem, "remove it, or use prefill and decode workers")


def _check_pair_role(deployment: Deployment, settings: RoleSpec, role: Role) -> None:
    flags, name = settings.flags, f"{role.value}.flags"
    ascend = deployment.transport == "ascend" or deployment.ascend.via_mooncake
    if settings.npu_phy_id is not None and not ascend:
        remedy = "write transport: ascend, or ascend.via_mooncake: true"
        _refuse(f"{role.value}.npu_phy_id", settings.npu_phy_id, "is of an NPU, and no NPU carries KV here", remedy)
    if flags.get(_ALLOCATION) == "prefill_complete":
        against = " or ".join(_against_complete(deployment, settings, role))
        if against:
            problem = f"does not go with {against}"
            _refuse(f"{name}.{_ALLOCATION}", "prefill_complete", problem, "write early, or change the other")
    if flags.get(_SWITCH):
        against = " or ".join(_against_switch(settings))
        if against:
            _refuse(f"{name}.{_SWITCH}", True, f"does not go with {against}", "remove one of the two")
    if role is Role.DECODE and flags.get(_RADIX) and flags.get("enable-hisparse"):
        _refuse(f"{name}.{_RADIX}", True, "does not go with enable-hisparse", "remove one of the two")
    threshold = flags.get(_THRESHOLD)
    if threshold is not None and threshold != 1 and str(threshold) not in {"1", "1.0"}:
        problem = "needs a transport that writes into host memory, and none of SGLang's own does"
        _refuse(f"{name}.{_THRESHOLD}", threshold, problem, "write 1, or leave it out")


def _against_complete(deployment: Deployment, settings: RoleSpec, role: Role) -> Iterator[str]:
    """Yields what `prefill_complete` cannot stand beside."""
    flags = settings.flags
    if deployment.transport != "mooncake":
        yield f"the transport {deployment.transport}"
    if (settings.pp or 1) > 1 or any(_more(flags.get(name)) for name in ("attn-cp-size", "dcp-size")):
        yield "pipeline or context parallelism"
    if (settings.tp or 1) != attention_ranks(settings):
        yield "attention over several GPUs (tp, without as many attention ranks)"
    if flags.get(_SWITCH):
        yield _SWITCH
    if deployment.encoder.count:
        yield "encoders"
    if flags.get("enable-hisparse"):
        yield "enable-hisparse"
    if role is Role.DECODE and (flags.get(_RADIX) or flags.get("enable-hierarchical-cache")):
        yield "a prefix cache of decode"
    if role is Role.PREFILL and deployment.store is not None:
        yield "a store"
    if deployment.env.get("SGLANG_DISAGG_STAGING_BUFFER", "0").lower() in {"1", "true"}:
        yield "SGLANG_DISAGG_STAGING_BUFFER"


def _against_switch(settings: RoleSpec) -> Iterator[str]:
    flags = settings.flags
    if (settings.ep or 1) > 1:
        yield "expert parallelism"
    if settings.moe_a2a not in (None, "none"):
        yield f"moe_a2a {settings.moe_a2a}"
    if (settings.pp or 1) > 1:
        yield "pipeline parallelism"
    if _more(flags.get("dcp-size")):
        yield "decode context parallelism"
    if flags.get("speculative-algorithm"):
        yield "speculative decoding"


def _more(value: object) -> bool:
    return value is not None and str(value) not in {"0", "1"}
