"""What routers and workers say of themselves: the bundled engine's, SGLang's, vLLM's and their routers' answers.

Pure, on decoded JSON from a stranger: whatever its shape, a value is taken or it is not there. Called by `discover` and
the runner's watcher.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..launch import Role
from ..runner.journal import clean_line

__all__ = ["Identity", "ListedWorker", "identity_of", "listed_workers"]

_MOST_WORKERS = 256
_SHOWN = 200
_ROLES = {
    "prefill": Role.PREFILL,
    "decode": Role.DECODE,
    "regular": Role.UNIFIED,
    "unified": Role.UNIFIED,
    "null": Role.UNIFIED,
    "none": Role.UNIFIED,
    "encode": Role.ENCODER,
    "encoder": Role.ENCODER,
}
_KV_ROLES = {"kv_producer": Role.PREFILL, "kv_consumer": Role.DECODE, "kv_both": None}
_KV_ROLE = re.compile(r"kv_role['\"]?\s*[=:]\s*['\"](kv_\w{1,12})['\"]")


@dataclass(frozen=True, slots=True)
class ListedWorker:
    """A worker that a router names; its role is None where the router does not tell it."""

    url: str
    role: Role | None


@dataclass(frozen=True, slots=True)
class Identity:
    """What a server says it is; empty where it does not say.

    Attributes:
        role: None where it does not say.
        engine: bundled, sglang or vllm.
        transport: what carries its KV, in the engine's word.
    """

    role: Role | None = None
    engine: str = ""
    version: str = ""
    model: str = ""
    transport: str = ""


def listed_workers(answer: Any) -> tuple[ListedWorker, ...]:
    """Returns the workers in a router's answer to /workers, /list_workers or /server_info."""
    found: dict[str, ListedWorker] = {}
    for worker in _listed(answer):
        if len(found) < _MOST_WORKERS:
            found.setdefault(worker.url, worker)
    return tuple(found.values())


def _listed(answer: Any) -> Iterator[ListedWorker]:
    if isinstance(answer, list):
        answer = {"workers": answer}
    if not isinstance(answer, Mapping):
        return
    for key in ("workers", "urls"):
        rows = answer.get(key)
        for row in rows if isinstance(rows, list) else ():
            if isinstance(row, str):
                yield ListedWorker(row, None)
            elif isinstance(row, Mapping) and isinstance(url := row.get("url"), str):
                yield ListedWorker(url, _role(row.get("worker_type")) or _role(row.get("role")))
    for key in ("prefill", "decode"):
        rows = answer.get(key)
        for row in rows if isinstance(rows, list) else ():
            if isinstance(row, Mapping) and isinstance(url := row.get("url"), str):
                yield ListedWorker(url, _ROLES[key])


def identity_of(info: Any, models: Any = None, version: Any = None) -> Identity:
    """Returns what a worker's answers say.

    Args:
        info: of /server_info or /get_server_info.
        models: of /v1/models.
        version: of /version.
    """
    info = info if isinstance(info, Mapping) else {}
    config = info.get("vllm_config")
    arguments = info.get("server_args") if isinstance(info.get("server_args"), Mapping) else info
    if config is not None:
        engine = "vllm"
        role = _vllm_role(config)
        model, transport = "", ""
    elif info:
        engine = "bundled" if "pages" in info and "startup" in info else "sglang"
        mode = arguments.get("disaggregation_mode", "null" if "model_path" in arguments else None)
        role = Role.UNIFIED if mode is None and "disaggregation_mode" in arguments else _role(mode)
        model = _text(arguments.get("served_model_name")) or _text(arguments.get("model_path"))
        transport = _text(arguments.get("disaggregation_transfer_backend")) if role is not Role.UNIFIED else ""
    else:
        engine, role, model, transport = _engine_of(models, version), None, "", ""
    said = _text(version.get("version")) if isinstance(version, Mapping) else ""
    return Identity(role, engine, _text(info.get("version")) or said, _model(models) or model, transport)


def _role(value: Any) -> Role | None:
    return _ROLES.get(value.lower()) if isinstance(value, str) else None


def _vllm_role(config: Any) -> Role | None:
    if isinstance(config, str):
        match = _KV_ROLE.search(config[:200_000])
        return _KV_ROLES.get(match[1]) if match else Role.UNIFIED if "kv_transfer_config=None" in config else None
    transfer = config.get("kv_transfer_config") if isinstance(config, Mapping) else None
    if isinstance(transfer, Mapping):
        return _KV_ROLES.get(_text(transfer.get("kv_role")))
    return Role.UNIFIED if isinstance(config, Mapping) else None


def _engine_of(models: Any, version: Any) -> str:
    data = models.get("data") if isinstance(models, Mapping) else None
    owners = [row.get("owned_by") for row in data if isinstance(row, Mapping)] if isinstance(data, list) else []
    if "vllm" in owners:
        return "vllm"
    if "sglang" in owners:
        return "sglang"
    return "vllm" if isinstance(version, Mapping) and "version" in version else ""


def _model(models: Any) -> str:
    data = models.get("data") if isinstance(models, Mapping) else None
    first = data[0] if isinstance(data, list) and data else None
    return _text(first.get("id")) if isinstance(first, Mapping) else ""


def _text(value: Any) -> str:
    return clean_line(value[:_SHOWN]) if isinstance(value, str) else ""
