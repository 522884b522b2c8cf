"""The class that vLLM reads --kv-transfer-config with takes what is generated for it, and refuses what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from judges import VLLM, Judge
from pdpanel.panel.flags.table import load_table
from pdpanel.panel.flags.translate import translate
from plan_variety import Command, commands_of, planned, preset_fields, vllm_variety

pytestmark = [pytest.mark.slow, pytest.mark.timeout(580)]
V0 = (
    '{"kv_connector":"MooncakeConnector","kv_role":"kv_producer","kv_rank":0,"kv_parallel_size":2,"kv_buffer_size":2e9}'
)


def _configs(commands: Iterable[Command]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for command in commands:
        for place, word in enumerate(command.arguments):
            name, _, joined = word.partition("=")
            if name == "--kv-transfer-config":
                found.append((command.source, joined or command.arguments[place + 1]))
    return found


def _commands(deployments: Mapping[str, Mapping[str, Any]]) -> list[Command]:
    made = {name: planned(fields) for name, fields in deployments.items()}
    return [command for name, plan in made.items() if plan for command in commands_of(name, plan)]


def _generated() -> list[Command]:
    deployments: dict[str, dict[str, Any]] = {fields["name"]: fields for fields in vllm_variety(200, VLLM)}
    deployments |= {name: {**fields, "engine_version": VLLM} for name, fields in preset_fields("vllm").items()}
    return [command for command in _commands(deployments) if command.engine == "vllm"]


def test_vllm_takes_every_generated_command(vllm_judge: Judge) -> None:
    commands = _generated()
    assert len(commands) > 200
    assert all(vllm_judge.errors([["m", "--swap-space", "4"], ["m", "--max-model-len", "long"]]))
    errors = vllm_judge.errors([list(command.arguments) for command in commands])
    assert [(command.source, error) for command, error in zip(commands, errors, strict=True) if error] == []


def test_what_is_read_from_vllms_source_is_what_its_parser_has(vllm_judge: Judge) -> None:
    table = load_table("vllm")
    assert table is not None
    assert {*vllm_judge.ask([])["options"]} - {"-h", "--help"} == table.names_at(table.newest)


def test_every_generated_configuration_is_taken(kv_config_judge: Judge) -> None:
    configs = _configs(_generated())
    assert len(configs) > 200
    errors = kv_config_judge.errors([text for _, text in configs])
    assert [(source, error) for (source, _), error in zip(configs, errors, strict=True) if error] == []


def test_what_is_refused_and_its_correction(kv_config_judge: Judge) -> None:
    finding = next(iter(translate("vllm", VLLM, ["--kv-transfer-config", V0]).findings))
    errors = kv_config_judge.errors([V0, finding.corrected, '{"kv_connector":"x"}'])
    for key in ("kv_rank", "kv_parallel_size", "kv_buffer_size"):
        assert key in errors[0]
    assert errors[1] == ""
    assert "kv_role" in errors[2]
    assert json.loads(finding.corrected or "")["kv_role"] == "kv_producer"
