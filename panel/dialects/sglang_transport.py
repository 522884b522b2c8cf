"""How SGLang is told what carries the KV cache: its backend, its NICs, and the variables that go with them.

Pure. One function for options and one for variables of a worker, one for variables that all processes share. What
does not fit together is refused here; what is only said in vain is a note in `sglang_notes`.
"""

from __future__ import annotations

import json
import re

from ...engine.errors import ConfigError
from ..deployment import Deployment
from ..launch import Role
from .placement import Placed, Placement, flag
from .sglang_version import band_env, has_mooncake_tcp, version

__all__ = ["carries_kv", "check_transport", "common_env", "nic_names", "transport_arguments", "transport_env"]

_STORE_URL = re.compile(r"tcp://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([1-9][0-9]{0,4})")
_PAIR = (Role.PREFILL, Role.DECODE)
_MOONCAKE = ("mooncake", "mooncake_tcp")
_TAKE_NICS = ("mooncake", "nixl", "mori")


def carries_kv(placed: Placed) -> bool:
    """Returns True for a worker that sends or receives KV."""
    return placed.role in _PAIR


def nic_names(text: str) -> tuple[str, ...]:
    """Returns the names in a list with commas or in a map as JSON, each once, in order."""
    lists = json.loads(text).values() if text.startswith("{") else [text]
    return tuple(dict.fromkeys(name for one in lists for name in one.split(",") if name))


def check_transport(deployment: Deployment) -> None:
    """Raises ConfigError for fields of transports that exclude each other."""
    transport, ascend = deployment.transport, deployment.ascend
    if transport == "ascend" and ascend.via_mooncake:
        remedy = "write transport: mooncake, or remove ascend.via_mooncake"
        raise ConfigError("ascend.via_mooncake", True, "carries KV by mooncake, and the transport is ascend", remedy)
    if ascend.via_mooncake and transport != "mooncake":
        problem = f"needs the transport mooncake, and the transport is {transport}"
        raise ConfigError("ascend.via_mooncake", True, problem, "write transport: mooncake")
    if transport == "ascend":
        _check_store_url(ascend.store_url)
    elif ascend.store_url is not None or ascend.protocol is not None:
        field = "store_url" if ascend.store_url is not None else "protocol"
        problem = f"belongs to the transport ascend, and the transport is {transport}"
        raise ConfigError(f"ascend.{field}", getattr(ascend, field), problem, "write transport: ascend, or remove it")
    if transport != "nixl" and (deployment.nixl.backend is not None or deployment.nixl.params):
        field, value = ("backend", deployment.nixl.backend) if deployment.nixl.backend else ("params", "a mapping")
        problem = f"belongs to the transport nixl, and the transport is {transport}"
        raise ConfigError(f"nixl.{field}", value, problem, "write transport: nixl, or remove it")
    if deployment.nvlink and transport != "mooncake":
        remedy = "write transport: mooncake, or remove nvlink"
        raise ConfigError("nvlink", True, f"is a way of mooncake, and the transport is {transport}", remedy)


def _check_store_url(text: str | None) -> None:
    remedy = "write tcp://HOST:PORT, an address and a free port of prefill's first node"
    if text is None:
        raise ConfigError("ascend.store_url", None, "is missing, and the transport ascend needs it", remedy)
    match = _STORE_URL.fullmatch(text)
    if match is None or int(match[2]) > 65535:
        raise ConfigError("ascend.store_url", text, "is not tcp://HOST:PORT", remedy)


def transport_arguments(placement: Placement, placed: Placed) -> tuple[str, ...]:
    """Returns the backend, where it is not the engine's own or could be mistaken, and the NICs."""
    deployment = placement.deployment
    settings, transport = placed.settings, deployment.transport
    arguments: list[str] = []
    if carries_kv(placed):
        older = transport == "mooncake_tcp" and not has_mooncake_tcp(version(deployment))
        backend = "mooncake" if older else transport
        # With encoders or NPUs there is another transfer, or another meaning of mooncake, to tell it from.
        ambiguous = bool(deployment.encoder.count) or deployment.ascend.via_mooncake
        if backend != "mooncake" or ambiguous:
            arguments += flag("disaggregation-transfer-backend", backend)
        if placed.nics and transport in _TAKE_NICS:
            arguments += flag("disaggregation-ib-device", placed.nics)
    elif placed.nics and _sends_images(placed) and transport != "mooncake_tcp":
        arguments += flag("disaggregation-ib-device", placed.nics)
    if settings.moe_a2a is not None:
        arguments += flag("moe-a2a-backend", settings.moe_a2a)
    if settings.elastic_ep is not None:
        arguments += flag("elastic-ep-backend", settings.elastic_ep)
    if "mooncake" in (settings.moe_a2a, settings.elastic_ep) and placed.nics and transport != "mooncake_tcp":
        # Experts take a plain list, which stays the one that KV takes.
        arguments += flag("mooncake-ib-device", ",".join(nic_names(placed.nics)))
    return tuple(arguments)


def transport_env(placement: Placement, placed: Placed) -> dict[str, str]:
    """Returns the variables of one worker's transport."""
    deployment, env = placement.deployment, {}
    transport, ascend = deployment.transport, deployment.ascend
    uses_engine = _uses_mooncake(placement, placed)
    if transport == "mooncake_tcp":
        # The backend's name forces TCP on a pair, and says nothing to an encoder, whose images have to go the same way.
        named = has_mooncake_tcp(version(deployment))
        if _sends_images(placed) or (carries_kv(placed) and not named):
            env["MC_FORCE_TCP"] = "1"
    if carries_kv(placed) and ascend.via_mooncake:
        env["ENABLE_ASCEND_TRANSFER_WITH_MOONCAKE"] = "true"
    if carries_kv(placed) and placed.settings.npu_phy_id is not None:
        env["ASCEND_NPU_PHY_ID"] = str(_npu(placement, placed))
    if carries_kv(placed) and ascend.interface is not None:
        for name in ("HCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME", "TP_SOCKET_IFNAME"):
            env[name] = ascend.interface
    node = placed.node or placement.local_name
    band = placement.rpc_ports.get(placed.node, placement.rpc_ports.get(node))
    if uses_engine and band is not None:
        env |= band_env(band, version(deployment))
    if uses_engine and deployment.observe:
        env["MC_TE_METRIC"] = "1"
    return env


def _uses_mooncake(placement: Placement, placed: Placed) -> bool:
    """Whether a transfer engine of Mooncake runs in the worker: for KV, for images, or for a store."""
    deployment = placement.deployment
    if placed.role is Role.ENCODER:
        return _sends_images(placed)
    if deployment.store is not None and placed.role is not Role.DECODE:
        return True
    return carries_kv(placed) and deployment.transport in _MOONCAKE


def _sends_images(placed: Placed) -> bool:
    """Whether the worker is an encoder whose output travels by Mooncake."""
    return placed.role is Role.ENCODER and placed.settings.encoder_transfer == "mooncake"


def _npu(placement: Placement, placed: Placed) -> int:
    """Returns the physical id of the worker's first NPU: further workers of the role on a node take the next ones."""
    settings = placed.settings
    assert settings.npu_phy_id is not None
    on_node = [worker for worker in placement.of_role(placed.role) if worker.node == placed.node]
    each = len(placed.gpus) or 1
    return settings.npu_phy_id + each * on_node.index(placed)


def common_env(deployment: Deployment) -> dict[str, str]:
    """Returns the variables that all processes share."""
    env: dict[str, str] = {}
    if deployment.modelscope:
        env["SGLANG_USE_MODELSCOPE"] = "true"
    if deployment.nvlink:
        env |= {"SGLANG_MOONCAKE_CUSTOM_MEM_POOL": "True", "MC_FORCE_MNNVL": "True"}
    if deployment.transport == "ascend" and deployment.ascend.store_url is not None:
        env["ASCEND_MF_STORE_URL"] = deployment.ascend.store_url
        if deployment.ascend.protocol is not None:
            env["ASCEND_MF_TRANSFER_PROTOCOL"] = deployment.ascend.protocol
    if deployment.nixl.backend is not None:
        env["SGLANG_DISAGGREGATION_NIXL_BACKEND"] = deployment.nixl.backend
    if deployment.nixl.params:
        env["SGLANG_DISAGGREGATION_NIXL_BACKEND_PARAMS"] = json.dumps(deployment.nixl.params)
    return env
