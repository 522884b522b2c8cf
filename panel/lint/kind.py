"""Which kind of text somebody pasted: shell, a config of Mooncake, a map of NICs, a compose file, a deployment.

Pure, bounded in what it reads, and never raises. Called by `lint` and `importing`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import yaml

from ..deployment import Deployment
from .mooncake_keys import mooncake_dialects

__all__ = ["MOST_CHARACTERS", "Kind", "Pasted", "recognise"]

MOST_CHARACTERS = 1 << 18
_MOST_YAML = 1 << 17
_DEEPEST = 64
_KV_KEYS = frozenset({"kv_connector", "kv_role", "kv_rank", "kv_parallel_size", "kv_buffer_size", "engine_id"})
_NOTE = re.compile(r"^preset:[ \t]*\n(?:[ \t]+[^\n]*\n|\n)*", re.MULTILINE)
_TEXT_START = re.compile(r"\s*[\[{]")
_LIKE_JSON = re.compile(r"\s*\{\s*(?:[\"'}]|\w{1,60}\s*:)")
# Merging a list of mappings may double its size with every line.
_MERGED_LIST = re.compile(r"<<[\"']?\s{0,20}:\s{0,200}[\[-]")
_GPU = re.compile(r"\d{1,4}\Z")


class Kind(StrEnum):
    """What a text is."""

    SHELL = "shell"
    SLURM = "slurm"
    MOONCAKE = "mooncake-config"
    IB_MAP = "ib-device-map"
    KV_CONFIG = "kv-transfer-config"
    COMPOSE = "compose"
    MANIFEST = "kubernetes"
    DEPLOYMENT = "deployment"
    BROKEN_JSON = "json"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Pasted:
    """A text with what it is.

    Attributes:
        value: of JSON: the value; of YAML: the documents.
        problem: why JSON cannot be read; empty when it can.
    """

    kind: Kind
    text: str
    value: Any = None
    problem: str = ""


def recognise(text: str) -> Pasted:
    """Returns what `text` is; of more than 256 KiB the beginning counts."""
    text = text[:MOST_CHARACTERS].removeprefix("\ufeff")
    if not text.strip() or "\0" in text:
        return Pasted(Kind.UNKNOWN, text)
    if _TEXT_START.match(text):
        found = _json(text)
        if found.kind is not Kind.BROKEN_JSON or _LIKE_JSON.match(text):
            return found
    documents = _yaml(text)
    if documents:
        first = next((one for one in documents if isinstance(one, Mapping)), {})
        if any(isinstance(one, Mapping) and "kind" in one and "apiVersion" in one for one in documents):
            return Pasted(Kind.MANIFEST, text, documents)
        services = first.get("services")
        if isinstance(services, Mapping) and any(isinstance(one, Mapping) for one in services.values()):
            return Pasted(Kind.COMPOSE, text, documents)
        if _is_deployment(first):
            return Pasted(Kind.DEPLOYMENT, _NOTE.sub("", text, count=1), first)
        if mooncake_dialects(first) and ":" in text:
            return Pasted(Kind.MOONCAKE, text, dict(first))
    if re.search(r"^#SBATCH\b", text, re.MULTILINE):
        return Pasted(Kind.SLURM, text)
    return Pasted(Kind.SHELL, text)


def _json(text: str) -> Pasted:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        message = getattr(error, "msg", "") or str(error)[:80] or "nested too deeply"
        line = getattr(error, "lineno", 0)
        return Pasted(Kind.BROKEN_JSON, text, None, f"{message}{f' in line {line}' if line else ''}")
    if isinstance(value, Mapping) and value:
        keys = {str(key) for key in value}
        if keys & _KV_KEYS:
            return Pasted(Kind.KV_CONFIG, text, value)
        if any(_GPU.match(key) for key in keys):
            return Pasted(Kind.IB_MAP, text, value)
        if mooncake_dialects(value):
            return Pasted(Kind.MOONCAKE, text, value)
        services = value.get("services")
        if isinstance(services, Mapping) and any(isinstance(one, Mapping) for one in services.values()):
            return Pasted(Kind.COMPOSE, text, [value])
        if "apiVersion" in keys and "kind" in keys:
            return Pasted(Kind.MANIFEST, text, [value])
        if all(isinstance(one, str) for one in value.values()) and any("gpu" in key.lower() for key in keys):
            return Pasted(Kind.IB_MAP, text, value)
    return Pasted(Kind.UNKNOWN, text, value)


def _is_deployment(value: Mapping[Any, Any]) -> bool:
    known = sum(str(key) in Deployment.model_fields for key in value)
    return known >= 2 and known * 2 > len(value)


def _yaml(text: str) -> list[Any]:
    """Returns the documents of a YAML text, none when it is no YAML or one that would cost too much."""
    first = next((line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")), "")
    looks = re.match(r"(?:---|[\w.-]{1,60}\s*:(?:\s|\Z)|%YAML)", first.strip())
    if not looks or len(text) > _MOST_YAML or len(_MERGED_LIST.findall(text)) > 1:
        return []
    try:
        if _depth(text) > _DEEPEST:
            return []
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        return [one for one in yaml.load_all(text, Loader=loader) if one is not None]
    except (yaml.YAMLError, ValueError, RecursionError, TypeError, AttributeError, OverflowError):
        return []


def _depth(text: str) -> int:
    """Returns how deeply flow collections may be nested, at most."""
    deepest = depth = 0
    for char in text:
        depth += (char in "[{") - (char in "]}" and depth > 0)
        deepest = max(deepest, depth)
    return deepest
