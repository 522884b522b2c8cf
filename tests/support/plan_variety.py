"""Deployments of every kind for judges of what is generated: presets, and variations drawn with a fixed seed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pdpanel.engine.errors import PdpanelError
from pdpanel.nic_probe.finding import Severity
from pdpanel.panel.deployment import parse_deployment
from pdpanel.panel.flags.program import program_of
from pdpanel.panel.host_facts import elsewhere
from pdpanel.panel.launch import LaunchPlan
from pdpanel.panel.plan import plan
from pdpanel.presets import load_preset, preset_names

__all__ = ["Command", "commands_of", "planned", "preset_fields", "sglang_variety", "vllm_variety"]


@dataclass(frozen=True, slots=True)
class Command:
    """One command of a plan: where it comes from, its engine, and the words after its program."""

    source: str
    engine: str
    arguments: tuple[str, ...]
    env: Mapping[str, str]


def planned(fields: Mapping[str, Any]) -> LaunchPlan | None:
    """Returns the plan of a deployment; None where it is refused or has a finding of severity error."""
    try:
        made = plan(parse_deployment(dict(fields)), elsewhere(), None)
    except PdpanelError:
        return None
    return None if any(finding.severity is Severity.ERROR for finding in made.findings) else made


def commands_of(source: str, made: LaunchPlan) -> Iterator[Command]:
    """Yields the commands of a plan that start an engine or a router that is known."""
    for process in made.processes:
        program = program_of(process.argv)
        if program is not None:
            yield Command(f"{source}: {process.name}", *program, process.env)


def preset_fields(engine: str) -> dict[str, dict[str, Any]]:
    """Returns the fields of all presets of an engine, by name."""
    every = {name: dict(load_preset(name)) for name in preset_names()}
    return {name: fields for name, fields in every.items() if fields.get("engine", "bundled") == engine}


_FLAGS: tuple[tuple[str, Any], ...] = (
    ("stream-output", True),
    ("incremental-streaming-output", True),
    ("cuda-graph-bs", [1, 2, 4, 8]),
    ("cuda-graph-bs-decode", [1, 2]),
    ("cuda-graph-max-bs", 128),
    ("disable-cuda-graph", True),
    ("disable-radix-cache", True),
    ("enable-deepep-moe", True),
    ("disaggregation-decode-tp", 4),
    ("prefill-round-robin-balance", True),
    ("moe-dense-tp-size", 1),
    ("enable-dp-lm-head", True),
    ("deepep-mode", "low_latency"),
    ("attention-backend", "triton"),
    ("watchdog-timeout", 1000000),
    ("load-balance-method", "round_robin"),
    ("piecewise-cuda-graph-tokens", [64, 128]),
    ("nsa-prefill-backend", "flashmla_sparse"),
)


def sglang_variety(count: int, version: str, seed: int = 7) -> Iterator[dict[str, Any]]:
    """Yields so many deployments of SGLang, some of which cannot be planned."""
    draw = random.Random(seed)
    for number in range(count):
        nodes = draw.choice([1, 1, 1, 2, 4])
        named = draw.random() < 0.5
        roles = {role: _role(draw, role, nodes, named) for role in ("prefill", "decode")}
        fields: dict[str, Any] = {
            "engine": "sglang",
            "engine_version": version,
            "model": draw.choice(["meta-llama/Llama-3.1-8B-Instruct", "/models/a b", "deepseek-ai/DeepSeek-V3"]),
            "transport": draw.choice(["mooncake", "mooncake", "mooncake_tcp", "nixl", "ascend"]),
            "observe": draw.random() < 0.5,
            "workers": _workers(draw),
            "router": {"port": 8000, **_some(draw, policy=["cache_aware", "round_robin", "random", "power_of_two"])},
            **roles,
        }
        if draw.random() < 0.15:
            del fields["prefill"], fields["decode"]
            fields["unified"] = _role(draw, "unified", nodes, named)
        if fields["transport"] == "ascend":
            fields["ascend"] = {"store_url": "tcp://10.0.0.1:24667"}
        if draw.random() < 0.3:
            fields["nics"] = draw.choice([["mlx5_0"], ["mlx5_0", "mlx5_1"], {"0": ["mlx5_0"], "1": ["mlx5_1"]}])
        yield {"name": f"variety-{number}", **fields}


def _workers(draw: random.Random) -> dict[str, Any]:
    flags = dict(draw.sample(_FLAGS, draw.randint(0, 4)))
    settings: dict[str, Any] = {"flags": flags}
    settings |= _some(
        draw,
        tp=[1, 2, 4, 8],
        pp=[1, 2],
        ep=[1, 8],
        moe_a2a=["deepep", "mooncake", "none"],
        elastic_ep=["mooncake"],
        mem_fraction=[0.5, 0.85],
        context_length=[8192],
        page_size=[1, 64],
        chunked_prefill_size=[-1, 4096],
        max_running_requests=[128],
        kv_cache_dtype=["auto", "fp8_e4m3"],
        trust_remote_code=[True, False],
    )
    spread = draw.choice([{}, {"attn_dp": 4, "tp": 8}, {"dp": 4, "dp_attention": True, "tp": 4}, {"dp": 2}])
    return settings | spread


def _role(draw: random.Random, role: str, nodes: int, named: bool) -> dict[str, Any]:
    spec: dict[str, Any] = {"count": draw.choice([1, 1, 2, 3])}
    if nodes > 1:
        spec |= {"nodes": nodes, "hosts": [f"{role}[0-{nodes * spec['count'] - 1}]"], "tp": 8 * nodes}
    elif named:
        net = 1 if role == "decode" else 0
        spec["hosts"] = [f"10.0.{net}.{number}" for number in range(1, 1 + spec["count"])]
    return spec


def _some(draw: random.Random, **choices: list[Any]) -> dict[str, Any]:
    """Returns about a third of the choices, each with one of its values."""
    return {name: draw.choice(values) for name, values in choices.items() if draw.random() < 0.35}


def vllm_variety(count: int, version: str, seed: int = 7) -> Iterator[dict[str, Any]]:
    """Yields so many deployments of vLLM, some of which cannot be planned."""
    draw = random.Random(seed)
    for number in range(count):
        yield {
            "name": f"variety-{number}",
            "engine": "vllm",
            "engine_version": version,
            "model": "Qwen/Qwen2.5-7B-Instruct",
            "transport": draw.choice(["mooncake", "mooncake_tcp", "nixl"]),
            "workers": _some(draw, tp=[1, 2, 8], mem_fraction=[0.8], context_length=[10000]),
            "prefill": {"count": draw.choice([1, 2])},
            "decode": {"count": draw.choice([1, 2, 3])},
        }
