"""The keys of vLLM's --kv-transfer-config, judged by the version that is to read them. Called by `translate`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ...nic_probe.finding import Evidence, Finding, Severity
from .rules import KV_KEY
from .table import Table, load_table
from .version import version_of

__all__ = ["judge_kv_config"]


def judge_kv_config(given: bool, version: str, text: str) -> Iterator[Finding]:
    """Yields a finding with the corrected JSON when this version of vLLM refuses a key; nothing for other text."""
    table = load_table("vllm-kv-transfer")
    try:
        config = json.loads(text)
    except ValueError:
        return
    if table is None or not isinstance(config, dict):
        return
    numbers = table.nearest(version_of(version))
    refused = tuple(dict.fromkeys(_refused(table, numbers, config)))
    if not refused:
        return
    shown = f"vLLM {version}" if given else f"today's vLLM ({table.versions[-1]})"
    evidence = (
        Evidence("--kv-transfer-config", text),
        *(Evidence("vLLM's releases", _life(table, key)) for key in refused),
    )
    corrected = json.dumps(_kept(table, numbers, config), separators=(",", ":"))
    yield KV_KEY.finding(
        Severity.ERROR,
        "--kv-transfer-config",
        evidence,
        f"{shown} refuses the {'keys' if len(refused) > 1 else 'key'} {', '.join(refused)}.",
        f"Write --kv-transfer-config '{corrected}'.",
        corrected,
    )


def _refused(table: Table, version: tuple[int, ...], config: Mapping[str, Any]) -> Iterator[str]:
    for key in config:
        if not table.has(key, version):
            yield key
    for inner in _nested(config):
        yield from _refused(table, version, inner)


def _kept(table: Table, version: tuple[int, ...], config: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in config.items() if table.has(key, version)}
    if inner := _nested(config):
        extra = config["kv_connector_extra_config"]
        kept["kv_connector_extra_config"] = {**extra, "connectors": [_kept(table, version, one) for one in inner]}
    return kept


def _nested(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Returns the configurations of the connectors that a MultiConnector wraps."""
    extra = config.get("kv_connector_extra_config")
    connectors = extra.get("connectors") if isinstance(extra, dict) else None
    if not isinstance(connectors, list):
        return []
    return [one for one in connectors if isinstance(one, dict)]


def _life(table: Table, key: str) -> str:
    option = table.options.get(key)
    if option is None:
        return f"{key} is in none that was read"
    return f"{key} " + "; ".join(f"since {life.since}, gone in {life.until or 'none'}" for life in option.lives)
