"""What a person reads: values with their arithmetic, splits in order, nothing that could steer a terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pdpanel.panel.sizing.bandwidth import Links, Wanted, transfer_of
from pdpanel.panel.sizing.figure import amount, shown
from pdpanel.panel.sizing.gpus import GPUS
from pdpanel.panel.sizing.memory import Budget, memory_of
from pdpanel.panel.sizing.model import facts_of_config
from pdpanel.panel.sizing.sizing_json import to_json
from pdpanel.panel.sizing.sizing_text import memory_text, suggestion_text, transfer_text
from pdpanel.panel.sizing.split import Fleet, Load
from pdpanel.panel.sizing.suggest import suggest


def test_amounts_and_units() -> None:
    assert [amount(value) for value in (131072, 0.5, 1e15, float("inf"))] == ["131,072", "0.5", "1e+15", "unlimited"]
    assert shown(131072, "B") == "131.1 kB"
    assert shown(2e9, "B/s") == "2 GB/s"
    assert shown(8.03e9, "parameters") == "8.03 billion parameters"
    assert shown(134.5e6, "parameters") == "134.5 million parameters"
    assert shown(0.42, "") == "42.0%"
    assert shown(float("inf"), "requests/s") == "unlimited"
    assert shown(12.5, "ms") == "12.5 ms"


def test_memory_shows_each_number_with_its_arithmetic(models: Mapping[str, Any]) -> None:
    facts = facts_of_config(models["Llama-3.1-8B"].config, "a model")
    text = memory_text(facts, memory_of(facts, Budget(80e9), 4096))
    assert "a model: GQA" in text
    assert "131.1 kB" in text
    assert "= 2 x 32 layers x 8 KV heads x 128 x 2 B" in text
    assert "Assumed" in text


def test_a_transfer_begins_with_its_verdict(models: Mapping[str, Any]) -> None:
    facts = facts_of_config(models["Llama-3.1-8B"].config)
    text = transfer_text(transfer_of(facts, Wanted(4, 1024), Links(100), Links(100)))
    assert text.startswith("The links carry it")
    assert "134.2 MB" in text


def test_splits_stand_in_order_with_the_reason(models: Mapping[str, Any]) -> None:
    facts = facts_of_config(models["Llama-3.1-8B"].config, "a\x1b[31m model\n")
    answer = suggest(facts, Load(1024, 128, 40, ttft_ms=500), Fleet(4, (1, 2), Links(400)), GPUS["h100"])
    text = suggestion_text(answer)
    assert "\x1b" not in text
    assert "40 requests/s of 1,024 + 128 tokens, within 500 ms to the first token" in text
    lines = [line for line in text.splitlines() if line.startswith("  1 ")]
    assert len(lines) == 1
    assert answer.splits[0].name in lines[0]
    assert "unified" in text
    assert "Why this order" in text
    assert max(len(line) for line in text.splitlines()[1:]) <= 120


def test_a_single_gpu_and_one_token_can_be_shown(models: Mapping[str, Any]) -> None:
    facts = facts_of_config(models["Llama-3.1-8B"].config)
    text = suggestion_text(suggest(facts, Load(16, 1), Fleet(1, (1,)), GPUS["h100"]))
    assert "Use one unified worker" in text


def test_json_has_every_number_and_no_infinity(models: Mapping[str, Any]) -> None:
    facts = facts_of_config(models["Llama-3.1-8B"].config)
    answer = suggest(facts, Load(1024, 128), Fleet(4, (1, 2)), GPUS["h100"])
    data = json.loads(json.dumps(to_json(answer), allow_nan=False))
    assert data["version"] == 1
    best = data["splits"][0]
    assert best["name"] == answer.splits[0].name
    assert best["gpus"] == 4
    assert best["bound"] == "prefill-bound"
    assert best["capacity"]["unit"] == "requests/s"
    assert {"value", "unit", "formula", "assumes"} == set(best["figures"]["KV of one token"])
    assert to_json(float("inf")) is None
    assert data["unified"]["unified"] == answer.unified.unified
    assert data["load"]["prompt"] == 1024
