"""From the variables of processes to the fields of a deployment: which variable is which field. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..doctor.command import read_json
from .draft import DeploymentDraft

__all__ = ["read_common_env", "read_role_env"]

_TRUE = frozenset({"1", "true", "yes", "on"})
_PREFIX = "SGLANG_DISAGGREGATION_"
_LIMITS: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    f"{_PREFIX}THREAD_POOL_SIZE": ("thread_pool", int),
    f"{_PREFIX}QUEUE_SIZE": ("queue_size", int),
    f"{_PREFIX}BOOTSTRAP_TIMEOUT": ("bootstrap_timeout_s", float),
    f"{_PREFIX}WAITING_TIMEOUT": ("waiting_timeout_s", float),
    f"{_PREFIX}HEARTBEAT_INTERVAL": ("heartbeat_interval_s", float),
    f"{_PREFIX}HEARTBEAT_MAX_FAILURE": ("heartbeat_max_failure", int),
}
_VISIBLE = ("CUDA_VISIBLE_DEVICES", "ASCEND_RT_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")


def read_common_env(draft: DeploymentDraft, env: Mapping[str, str]) -> dict[str, str]:
    """Takes what all workers share into the draft, and returns the variables that no field says."""
    rest = dict(env)
    known = draft.known

    def take(*names: str) -> None:
        for name in names:
            rest.pop(name, None)

    for name in ("SGLANG_USE_MODELSCOPE", "VLLM_USE_MODELSCOPE"):
        if rest.get(name, "").lower() in _TRUE and "modelscope" in known:
            draft.set("modelscope", True)
            take(name)
    pool, nvlink = "SGLANG_MOONCAKE_CUSTOM_MEM_POOL", "MC_FORCE_MNNVL"
    if rest.get(pool) == rest.get(nvlink) == "True" and "nvlink" in known:
        draft.set("nvlink", True)
        take(pool, nvlink)
    if "nixl.backend" in known and (backend := rest.get(f"{_PREFIX}NIXL_BACKEND")):
        draft.set("nixl.backend", backend)
        take(f"{_PREFIX}NIXL_BACKEND")
    params = read_json(rest.get(f"{_PREFIX}NIXL_BACKEND_PARAMS", ""))
    if "nixl.params" in known and isinstance(params, dict) and all(isinstance(one, str) for one in params.values()):
        draft.set("nixl.params", params)
        take(f"{_PREFIX}NIXL_BACKEND_PARAMS")
    for name, field in (
        ("ASCEND_MF_STORE_URL", "ascend.store_url"),
        ("ASCEND_MF_TRANSFER_PROTOCOL", "ascend.protocol"),
    ):
        if name in rest and field in known:
            draft.set(field, rest[name])
            take(name)
    if rest.get("ENABLE_ASCEND_TRANSFER_WITH_MOONCAKE", "").lower() in _TRUE and "ascend.via_mooncake" in known:
        draft.set("ascend.via_mooncake", True)
        take("ENABLE_ASCEND_TRANSFER_WITH_MOONCAKE")
    interfaces = ("HCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME", "TP_SOCKET_IFNAME")
    if "ascend.interface" in known and len({rest.get(name) for name in interfaces}) == 1 and interfaces[0] in rest:
        draft.set("ascend.interface", rest[interfaces[0]])
        take(*interfaces)
    return rest


def read_role_env(draft: DeploymentDraft, role: str, envs: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Takes what the workers of a role say by variables into the draft, and returns what no field says.

    Args:
        envs: of each worker of the role, without what all roles share.
    """
    first = dict(envs[0]) if envs else {}
    rest = {name: value for name, value in first.items() if all(env.get(name) == value for env in envs)}
    for name, (field, kind) in _LIMITS.items():
        if name in rest and f"limits.{field}" in draft.known and (value := _number(rest[name], kind)) is not None:
            draft.set(f"limits.{field}", value)
            del rest[name]
    for name, field in (
        ("VLLM_MOONCAKE_BOOTSTRAP_PORT", "bootstrap_port"),
        ("VLLM_NIXL_SIDE_CHANNEL_PORT", "kv_port"),
        ("ASCEND_NPU_PHY_ID", "npu_phy_id"),
    ):
        value = _number(first.get(name, ""), int)
        if value is not None and f"{role}.{field}" in draft.known:
            draft.set(f"{role}.{field}", value)
            rest.pop(name, None)
    low, high = (_number(first.get(name, ""), int) for name in ("MC_MIN_RPC_PORT", "MC_MAX_RPC_PORT"))
    if low is not None and high is not None:
        draft.set("rpc_ports", [low, high])
        rest.pop("MC_MIN_RPC_PORT", None)
        rest.pop("MC_MAX_RPC_PORT", None)
    for name in _VISIBLE:
        gpus = [_number(part, int) for part in first.get(name, "").split(",")]
        if name in first and gpus and None not in gpus:
            draft.set("gpu_selection", "visible-devices")
            every = sorted(
                {
                    gpu
                    for env in envs
                    for part in env.get(name, "").split(",")
                    if (gpu := _number(part, int)) is not None
                }
            )
            draft.set(f"{role}.gpus", every)
            rest.pop(name, None)
    return rest


def _number(text: str, kind: Callable[[str], Any]) -> Any:
    if not re.fullmatch(r"\s*\d{1,9}(?:\.\d{1,6})?\s*", text):
        return None
    try:
        return kind(text)
    except ValueError:
        return None
