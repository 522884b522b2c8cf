"""Seconds of prompts and steps: by a roofline, and as measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.sizing.gpus import GPUS, Gpu
from pdpanel.panel.sizing.measured import BUNDLED_ON_CPU, Measured, MeasuredSpeed
from pdpanel.panel.sizing.model import facts_of_config
from pdpanel.panel.sizing.parallelism import Parallelism
from pdpanel.panel.sizing.speed import Efficiency, Roofline

PERFECT = Efficiency(mfu=1, mbu=1, reduce_s=0, step_s=0)


def roofline(
    models: Mapping[str, Any], name: str = "Llama-3.1-8B", gpu: Gpu | None = None, tp: int = 1, **changes: Any
) -> Roofline:
    efficiency = changes.pop("efficiency", PERFECT)
    return Roofline(facts_of_config(models[name].config), gpu or GPUS["h100"], Parallelism(tp), efficiency, **changes)


def test_a_decode_step_reads_weights_and_kv(models: Mapping[str, Any]) -> None:
    # Everything but the input table, of which a step reads single rows; 131,072 B of KV a token.
    weights = (8_030_261_248 - 128_256 * 4096) * 2
    assert roofline(models).step_s(1, 0) == pytest.approx(weights / 3.35e12, rel=1e-4)
    assert roofline(models).step_s(8, 1000) == pytest.approx((weights + 8 * 131_072_000) / 3.35e12, rel=1e-4)


def test_a_prefill_is_two_operations_for_each_parameter_and_token(models: Mapping[str, Any]) -> None:
    linear = 2 * (8_030_261_248 - 2 * 128_256 * 4096) * 2048 + 2 * 128_256 * 4096
    attention = 32 * 32 * 2 * 128 * 2 * 2048 * 2049 / 2
    assert roofline(models).prefill_s(2048) == pytest.approx((linear + attention) / 989e12, rel=1e-4)


def test_a_short_prompt_still_reads_the_weights(models: Mapping[str, Any]) -> None:
    assert roofline(models).prefill_s(1) == pytest.approx(roofline(models).step_s(1, 0), rel=0.1)


def test_few_tokens_meet_few_experts(models: Mapping[str, Any]) -> None:
    one = roofline(models, "Mixtral-8x7B").step_s(1, 0)
    many = roofline(models, "Mixtral-8x7B").step_s(64, 0)
    assert one == pytest.approx(12.9e9 * 2 / 3.35e12, rel=0.02)
    assert many == pytest.approx(46.7e9 * 2 / 3.35e12, rel=0.02)


def test_large_workers_pay_for_their_links(models: Mapping[str, Any]) -> None:
    slow = replace(GPUS["h100"], link_speed=32e9)
    fast = roofline(models, tp=8).prefill_s(4096)
    assert roofline(models, gpu=slow, tp=8).prefill_s(4096) > 1.5 * fast
    # Beyond a node the NICs carry the all-reduces.
    beyond = roofline(models, tp=16, network=1e9).prefill_s(4096)
    assert beyond > roofline(models, tp=16, network=100e9).prefill_s(4096)


def test_published_speeds_are_met(models: Mapping[str, Any]) -> None:
    # SGLang's blog of 2025-05-05, DeepSeek on nodes of 8 H100: 52.3k input and 22.3k output tokens/s of a node, prompts
    # of 2000 tokens. Their expert parallelism over nodes is not modelled; a node of 8 stands for its share.
    facts = facts_of_config(models["DeepSeek-V3"].config)
    prefill = Roofline(facts, GPUS["h100"], Parallelism(8), Efficiency())
    assert 2000 / prefill.prefill_s(2000) == pytest.approx(52_300, rel=0.3)
    # aiconfigurator's user guide: Qwen3-32B in fp8 on one H200, 3000 tokens in 202.65 ms; 64 sequences on four take
    # 1 / 123.92 s for a token.
    config = {
        "num_hidden_layers": 64, "hidden_size": 5120, "num_attention_heads": 64, "num_key_value_heads": 8,
        "head_dim": 128, "intermediate_size": 25600, "vocab_size": 151936, "torch_dtype": "bfloat16",
        "quantization_config": {"quant_method": "fp8"},
    }  # fmt: skip
    facts = facts_of_config(config)
    assert Roofline(facts, GPUS["h200"], Parallelism(1), Efficiency()).prefill_s(3000) == pytest.approx(
        0.20265, rel=0.1
    )
    step = Roofline(facts, GPUS["h200"], Parallelism(4), Efficiency()).step_s(64, 3256)
    assert step == pytest.approx(1 / 123.92, rel=0.1)


def test_figures_show_what_they_are_made_of(models: Mapping[str, Any]) -> None:
    speed = roofline(models, tp=2, efficiency=Efficiency())
    prefill, step = speed.prefill(1024), speed.step(8, 1088)
    assert prefill.value == pytest.approx(speed.prefill_s(1024) * 1e3)
    assert step.value == pytest.approx(speed.step_s(8, 1088) * 1e3)
    assert "tp 2" in prefill.formula
    assert "all-reduces" in prefill.formula
    assert "8 x 71,303,168 B KV of 1,088 tokens" in step.formula
    assert "50%" in " ".join(step.assumes)


def test_measured_speeds_are_met_at_their_points() -> None:
    speed = MeasuredSpeed(BUNDLED_ON_CPU)
    for batch, rate in BUNDLED_ON_CPU.decode_tokens_per_s:
        assert batch / speed.step_s(batch, 0) == pytest.approx(rate)
    assert speed.prefill_s(860) == pytest.approx(2)
    assert speed.largest_batch == 32
    assert 69 < 16 / speed.step_s(16, 0) < 170
    assert "430" in speed.prefill(860).formula


@pytest.mark.parametrize(
    ("prefill", "decode"),
    [
        (0, ((1, 2.0),)),
        (float("nan"), ((1, 2.0),)),
        (1, ()),
        (1, ((0, 2.0),)),
        (1, ((1, -1.0),)),
        (1, ((2, 1.0), (1, 2.0))),
        (1, ((1, 1.0), (1, 2.0))),
    ],
)
def test_what_was_never_measured_is_refused(prefill: float, decode: tuple[tuple[int, float], ...]) -> None:
    with pytest.raises(ConfigError):
        Measured(prefill, decode)


@pytest.mark.parametrize("values", [{"mfu": 0}, {"mbu": 1.1}, {"mfu": float("nan")}])
def test_shares_of_a_peak_are_shares(values: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        Efficiency(**values)


@settings(deadline=None)
@given(
    st.dictionaries(st.integers(1, 512), st.floats(0.1, 1e5), min_size=1, max_size=6),
    st.integers(1, 600),
    st.integers(0, 600),
)
def test_measured_steps_and_rates_never_fall_with_the_batch(points: dict[int, float], batch: int, more: int) -> None:
    speed = MeasuredSpeed(Measured(100, tuple(sorted(points.items()))))
    one, other = speed.step_s(batch, 0), speed.step_s(batch + more, 0)
    assert other >= one * (1 - 1e-9)
    assert (batch + more) / other >= batch / one * (1 - 1e-9)


NAMES = st.sampled_from(("Llama-3.1-8B", "DeepSeek-V3", "gpt-oss-120b", "Nemotron-3-Nano-30B-A3B", "Mixtral-8x7B"))


@settings(deadline=None)
@given(NAMES, st.integers(1, 2000), st.floats(1, 1e5), st.sampled_from((1, 2, 4, 8)), st.floats(1, 4))
def test_better_devices_are_never_slower_and_more_work_never_faster(
    models: Mapping[str, Any], name: str, batch: int, context: float, tp: int, times: float
) -> None:
    gpu = GPUS["h100"]
    speed = roofline(models, name, tp=tp, efficiency=Efficiency())
    step = speed.step_s(batch, context)
    wide = roofline(models, name, replace(gpu, memory_speed=gpu.memory_speed * times), tp, efficiency=Efficiency())
    strong = {kind: peak * times for kind, peak in gpu.peaks.items()}
    quick = roofline(models, name, replace(gpu, peaks=strong), tp, efficiency=Efficiency())
    assert wide.step_s(batch, context) <= step
    assert quick.step_s(batch, context) <= step
    assert quick.prefill_s(batch) <= speed.prefill_s(batch)
    assert speed.step_s(batch + 1, context) >= step
    assert speed.step_s(batch, context * times) >= step
    assert speed.prefill_s(batch + 1) >= speed.prefill_s(batch)
    assert (batch + 1) / speed.step_s(batch + 1, context) >= batch / step * (1 - 1e-9)
