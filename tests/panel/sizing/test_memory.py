"""Weights, KV and what fits: against published bytes, and the rules of splitting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.sizing.facts import ModelFacts
from pdpanel.panel.sizing.kv import kv_bytes_per_token, sequence_kv_bytes
from pdpanel.panel.sizing.memory import Budget, activation_reserve, memory_of, requests_that_fit, tokens_that_fit
from pdpanel.panel.sizing.model import facts_of_config
from pdpanel.panel.sizing.parallelism import Parallelism
from pdpanel.panel.sizing.precision import PRECISIONS, precision_named
from pdpanel.panel.sizing.weights import weight_reads, weights_bytes

GIB = 1 << 30


def small(**changes: Any) -> ModelFacts:
    base: dict[str, Any] = {
        "num_hidden_layers": 12, "hidden_size": 512, "num_attention_heads": 8, "num_key_value_heads": 4,
        "intermediate_size": 1024, "vocab_size": 1000, "torch_dtype": "bfloat16",
    }  # fmt: skip
    return facts_of_config(base | changes)


# DeepSeek's paper on hardware (arXiv 2505.09343, table 1) gives the first three; the fourth is the engine's own.
@pytest.mark.parametrize(
    ("name", "dtype", "expected"),
    [
        ("DeepSeek-V3", "bf16", 70_272),
        ("Llama-3.1-405B", "bf16", 516_096),
        ("Llama-3.1-8B", "bf16", 131_072),
        ("SmolLM2-135M", "fp16", 23_040),
        ("SmolLM2-135M", "fp32", 46_080),
        ("Qwen3-8B", "fp8", 73_728),
    ],
)
def test_kv_of_a_token_is_as_published(name: str, dtype: str, expected: int, models: Mapping[str, Any]) -> None:
    whole, one_gpu = kv_bytes_per_token(facts_of_config(models[name].config), dtype)
    assert (whole.value, one_gpu.value) == (expected, expected)


def test_the_formula_has_the_numbers_put_in(models: Mapping[str, Any]) -> None:
    facts = facts_of_config(models["Llama-3.1-8B"].config)
    whole, each = kv_bytes_per_token(facts, "bf16", Parallelism(tp=4))
    assert whole.formula == "2 x 32 layers x 8 KV heads x 128 x 2 B"
    assert each.formula == "2 x 32 layers x 8 KV heads x 128 x 2 B / 4"


@pytest.mark.parametrize(("tp", "share"), [(1, 1), (2, 1 / 2), (4, 1 / 4), (8, 1 / 4), (16, 1 / 4)])
def test_kv_heads_are_split_until_one_is_left(tp: int, share: float) -> None:
    whole, each = kv_bytes_per_token(small(num_attention_heads=16), "bf16", Parallelism(tp=tp))
    assert each.value == whole.value * share
    assert ("same head" in " ".join(each.assumes)) == (tp > 4)


def test_latent_kv_is_not_split_by_tensor_parallelism(models: Mapping[str, Any]) -> None:
    facts = facts_of_config(models["DeepSeek-V3"].config)
    whole, each = kv_bytes_per_token(facts, "bf16", Parallelism(tp=8))
    assert each.value == whole.value
    assert "does not split latent KV" in " ".join(each.assumes)


def test_a_window_stops_growing(models: Mapping[str, Any]) -> None:
    facts = facts_of_config(models["gpt-oss-120b"].config)
    layer = 8 * 2 * 64 * 2
    assert sequence_kv_bytes(facts, 100)[0] == 36 * layer * 100
    assert sequence_kv_bytes(facts, 1000)[0] == 18 * layer * (128 + 1000)


def test_linear_layers_keep_a_state_and_nothing_of_a_token(models: Mapping[str, Any]) -> None:
    facts = facts_of_config(models["Qwen3.5-397B-A17B"].config)
    empty = sequence_kv_bytes(facts, 0)[0]
    assert empty == 45 * (64 * 128 * 128 * 4 + (2 * 16 * 128 + 64 * 128) * 3 * 2)
    assert sequence_kv_bytes(facts, 10)[0] - empty == 10 * 15 * 2 * 2 * 256 * 2


def test_sparse_attention_keeps_everything_and_reads_a_part(models: Mapping[str, Any]) -> None:
    config = models["DeepSeek-V3"].config | {"index_topk": 2048, "index_head_dim": 128, "index_n_heads": 64}
    facts = facts_of_config(config)
    assert sequence_kv_bytes(facts, 10_000)[0] == 61 * 10_000 * (576 * 2 + 132)
    assert sequence_kv_bytes(facts, 10_000, read=True)[0] == 61 * (2048 * 576 * 2 + 10_000 * 132)


@pytest.mark.parametrize(
    ("name", "gb"),
    [("fp32", 32.1), ("bf16", 16.06), ("fp8", 9.08), ("int8", 9.1), ("int4", 5.73), ("gptq", 5.73), ("nvfp4", 6.03)],
)
def test_weights_by_format(name: str, gb: float, models: Mapping[str, Any]) -> None:
    facts = facts_of_config(models["Llama-3.1-8B"].config)
    assert weights_bytes(facts, precision=precision_named(name))[0].value == pytest.approx(gb * 1e9, rel=0.01)


def test_mixtures_in_mxfp4_quantise_their_experts_alone(models: Mapping[str, Any]) -> None:
    # openai/gpt-oss-120b's safetensors are 65.2 GB.
    assert weights_bytes(facts_of_config(models["gpt-oss-120b"].config))[0].value == pytest.approx(65.2e9, rel=0.01)


def test_published_checkpoint_in_fp8(models: Mapping[str, Any]) -> None:
    # deepseek-ai/DeepSeek-V3 without its prediction layer; 671 GB at 8 bits, and the tables at 16.
    assert weights_bytes(facts_of_config(models["DeepSeek-V3"].config))[0].value == pytest.approx(673e9, rel=0.01)


def test_stages_and_tensor_parallelism_divide_weights() -> None:
    facts = small()
    whole, one = weights_bytes(facts)
    assert one.value == whole.value
    norms = 2 * 512 * 12 * 2
    halves = weights_bytes(facts, Parallelism(tp=2))[1].value
    assert halves == pytest.approx((whole.value - norms) / 2 + norms, rel=1e-6)
    stages = weights_bytes(facts, Parallelism(pp=5))[1].value
    table = 1000 * 512 * 2
    assert stages == pytest.approx((whole.value - 2 * table) * 3 / 12 + table, rel=1e-3)


def test_experts_are_dealt_whole_and_redundant_ones_cost() -> None:
    facts = small(num_experts=6, num_experts_per_tok=2, moe_intermediate_size=256)
    one = 3 * 512 * 256 * 2 * 12
    split = weights_bytes(facts, Parallelism(tp=4))[1].value
    dealt = weights_bytes(facts, Parallelism(tp=4, ep=4))[1].value
    assert dealt - split == pytest.approx((2 - 6 / 4) * one)
    spare = weights_bytes(facts, Parallelism(tp=4, ep=4, redundant_experts=3))[1].value
    assert spare - dealt == pytest.approx(one)


def test_copies_of_the_attention_take_weights_and_give_room_for_latent_kv(models: Mapping[str, Any]) -> None:
    facts = facts_of_config(models["DeepSeek-V3"].config)
    budget = Budget(141 * GIB)
    shared, copied = Parallelism(tp=8), Parallelism(tp=8, attention_dp=8)
    assert weights_bytes(facts, copied)[1].value > weights_bytes(facts, shared)[1].value
    ratio = tokens_that_fit(facts, budget, copied).value / tokens_that_fit(facts, budget, shared).value
    assert 4 < ratio < 8


def test_what_fits_by_hand(models: Mapping[str, Any]) -> None:
    facts = facts_of_config(models["Llama-3.1-8B"].config)
    budget = Budget(80 * GIB, 0.9, reserve_bytes=GIB)
    free = 80 * GIB * 0.9 - 16_060_522_496 - GIB
    assert tokens_that_fit(facts, budget).value == int(free / 131_072)
    assert requests_that_fit(facts, budget, 4096).value == int(free / 131_072 / 4096)


def test_a_model_that_does_not_fit_leaves_nothing(models: Mapping[str, Any]) -> None:
    memory = memory_of(facts_of_config(models["Llama-3.1-70B"].config), Budget(80 * GIB), 1000)
    assert (memory.tokens.value, memory.requests.value) == (0, 0)
    assert memory.weights.value > 80 * GIB


@pytest.mark.parametrize("fraction", [0, -1, 1.1, float("nan")])
def test_a_fraction_that_is_none_is_refused(fraction: float) -> None:
    with pytest.raises(ConfigError, match="--mem-fraction"):
        Budget(80 * GIB, fraction)


@pytest.mark.parametrize(
    "values", [{"tp": 0}, {"tp": 4, "ep": 3}, {"tp": 2, "attention_dp": 4}, {"redundant_experts": -1}]
)
def test_a_parallelism_that_cannot_be_is_refused(values: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        Parallelism(**values)


def test_an_unknown_kv_dtype_and_an_empty_request_are_refused() -> None:
    with pytest.raises(ConfigError, match="kv-cache-dtype"):
        kv_bytes_per_token(small(), "int3")
    with pytest.raises(ConfigError, match="length"):
        requests_that_fit(small(), Budget(GIB), 0)


POWERS = st.sampled_from((1, 2, 4, 8))


@settings(deadline=None)
@given(
    st.sampled_from(("Llama-3.1-8B", "DeepSeek-V3", "gpt-oss-120b", "Nemotron-3-Nano-30B-A3B", "Qwen3-235B-A22B")),
    POWERS,
    POWERS,
    st.sampled_from(tuple(PRECISIONS)),
    st.integers(1, 200_000),
)
def test_the_gpus_of_a_worker_hold_the_model_and_its_kv(
    models: Mapping[str, Any], name: str, tp: int, pp: int, precision: str, tokens: int
) -> None:
    facts, parallel = facts_of_config(models[name].config), Parallelism(tp, pp)
    whole, each = weights_bytes(facts, parallel, PRECISIONS[precision])
    # With stages the tables lie on the first and the last, and the figure is the fullest stage's.
    assert each.value * parallel.gpus >= whole.value * 0.999
    assert each.value <= whole.value * 1.001
    always, routed = weight_reads(facts, Parallelism(tp), PRECISIONS[precision])
    assert always + routed <= weights_bytes(facts, Parallelism(tp), PRECISIONS[precision])[1].value * 1.001
    kept, on_gpu = sequence_kv_bytes(facts, tokens, "bf16", parallel)
    assert kept / parallel.gpus * 0.999 <= on_gpu <= kept * 1.001
    assert sequence_kv_bytes(facts, tokens, read=True)[0] <= kept
    assert sequence_kv_bytes(facts, tokens + 1)[0] >= kept
    assert activation_reserve(facts, parallel).value > 0


@settings(deadline=None)
@given(st.floats(1e9, 1e12), st.floats(0.1, 1), st.integers(1, 100_000), POWERS)
def test_more_memory_never_holds_less(
    models: Mapping[str, Any], size: float, fraction: float, length: int, tp: int
) -> None:
    facts, parallel = facts_of_config(models["Qwen3-8B"].config), Parallelism(tp)
    less = requests_that_fit(facts, Budget(size, fraction), length, parallel).value
    assert requests_that_fit(facts, Budget(size * 1.5, fraction), length, parallel).value >= less >= 0
    assert requests_that_fit(facts, Budget(size, fraction, kv_dtype="fp8"), length, parallel).value >= less
