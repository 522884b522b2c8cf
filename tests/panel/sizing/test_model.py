"""Sizes from config.json: against published counts, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pdpanel.engine.errors import ConfigError
from pdpanel.engine.model.shape import shape_from_hf_config
from pdpanel.panel.sizing.facts import Mixer
from pdpanel.panel.sizing.model import facts_of_config, facts_of_shape

NAMES = (
    "SmolLM2-135M", "Llama-3.1-8B", "Llama-3.1-70B", "Llama-3.1-405B", "Mistral-7B-v0.1", "Qwen2.5-7B", "Qwen3-8B",
    "Qwen3-235B-A22B", "Mixtral-8x7B", "DeepSeek-V3", "DeepSeek-V2-Lite", "Kimi-K2", "GLM-4.5", "gpt-oss-120b",
    "Gemma-2-9B", "Gemma-3-4B", "Phi-3-mini", "Phi-2", "Falcon-7B", "Qwen3.5-397B-A17B", "Nemotron-3-Nano-30B-A3B",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_those_that_are_published(name: str, models: Mapping[str, Any]) -> None:
    model = models[name]
    facts = facts_of_config(model.config)
    assert facts.parameters.value == pytest.approx(model.total * 1e9, rel=0.01)
    assert facts.active_parameters.value == pytest.approx(model.active * 1e9, rel=0.02)
    assert facts.attention == model.attention


def test_every_published_model_is_looked_at(models: Mapping[str, Any]) -> None:
    assert set(NAMES) == set(models)


@pytest.mark.parametrize("name", NAMES)
def test_the_arithmetic_adds_up_to_the_value(name: str, models: Mapping[str, Any]) -> None:
    figure = facts_of_config(models[name].config).parameters
    total = 0
    for term in figure.formula.split(" + "):
        words = term.replace(",", "").split()
        total += int(words[0]) * (int(words[2]) if words[1] == "x" else 1)
    assert total == figure.value


def test_windows_fall_on_the_layers_that_the_file_names(models: Mapping[str, Any]) -> None:
    def count(name: str, mixer: Mixer) -> int:
        return sum(group.count for group in facts_of_config(models[name].config).layers if group.mixer is mixer)

    assert (count("gpt-oss-120b", Mixer.SLIDING), count("gpt-oss-120b", Mixer.FULL)) == (18, 18)
    assert (count("Gemma-2-9B", Mixer.SLIDING), count("Gemma-2-9B", Mixer.FULL)) == (21, 21)
    assert (count("Gemma-3-4B", Mixer.SLIDING), count("Gemma-3-4B", Mixer.FULL)) == (29, 5)
    assert (count("Qwen3.5-397B-A17B", Mixer.LINEAR), count("Qwen3.5-397B-A17B", Mixer.FULL)) == (45, 15)
    assert (count("Mistral-7B-v0.1", Mixer.SLIDING), count("Qwen2.5-7B", Mixer.SLIDING)) == (32, 0)
    # Six layers attend, 23 are Mamba and 23 hold experts alone.
    assert (count("Nemotron-3-Nano-30B-A3B", Mixer.FULL), count("Nemotron-3-Nano-30B-A3B", Mixer.NONE)) == (6, 23)


def test_qwen2_windows_begin_where_the_file_says(models: Mapping[str, Any]) -> None:
    config = models["Qwen2.5-7B"].config | {"use_sliding_window": True, "max_window_layers": 20}
    facts = facts_of_config(config)
    assert sum(group.count for group in facts.layers if group.mixer is Mixer.SLIDING) == 8


def test_sparse_attention_keeps_index_keys_beside_the_latent(models: Mapping[str, Any]) -> None:
    config = models["DeepSeek-V3"].config | {"index_topk": 2048, "index_head_dim": 128, "index_n_heads": 64}
    layer = facts_of_config(config).layers[0]
    assert (layer.kv_elements, layer.index_bytes, layer.attended) == (576, 132, 2048)


def test_layers_that_share_an_index_share_its_bytes(models: Mapping[str, Any]) -> None:
    config = models["DeepSeek-V3"].config | {"index_topk": 2048, "index_head_dim": 128, "index_n_heads": 64}
    types = ["full"] * 31 + ["shared"] * 30
    assert facts_of_config(config | {"indexer_types": types}).layers[0].index_bytes == 67


def test_a_single_layer_may_differ_in_the_newest_files(models: Mapping[str, Any]) -> None:
    config = models["Qwen3-8B"].config
    plain = facts_of_config(config)
    changed = facts_of_config(config | {"per_layer_config": {"5": {"num_key_value_heads": 4}}})
    assert sorted(group.count for group in changed.layers) == [1, 35]
    assert plain.parameters.value - changed.parameters.value == 2 * 4096 * 4 * 128


def test_the_bundled_engines_shape_gives_the_same_size(models: Mapping[str, Any]) -> None:
    config = dict(models["SmolLM2-135M"].config) | {"architectures": ["LlamaForCausalLM"]}
    facts = facts_of_shape(shape_from_hf_config(config, source="test"), "small")
    assert facts.parameters.value == facts_of_config(config).parameters.value
    assert (facts.name, facts.dtype_bytes, facts.precision.name) == ("small", 4, "fp32")


@pytest.mark.parametrize(
    "key", ["num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size", "vocab_size"]
)
def test_a_missing_key_is_named(key: str, models: Mapping[str, Any]) -> None:
    config = {name: value for name, value in models["Llama-3.1-8B"].config.items() if name != key}
    with pytest.raises(ConfigError, match=f"{key}.*missing"):
        facts_of_config(config)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_hidden_layers", 0),
        ("num_hidden_layers", 10**9),
        ("hidden_size", "4096"),
        ("hidden_size", 4096.5),
        ("vocab_size", True),
        ("num_key_value_heads", 5),
        ("num_key_value_heads", [8, 4]),
        ("layer_types", ["full_attention"]),
        ("layer_types", ["conv"] * 32),
        ("layer_types", "full_attention"),
        ("quantization_config", {"quant_method": "secret"}),
        ("quantization_config", {"quant_algo": "MIXED_PRECISION"}),
        ("quantization_config", "fp8"),
        ("torch_dtype", "float128"),
        ("compress_ratios", [4] * 32),
        ("num_kv_shared_layers", 10),
        ("is_encoder_decoder", True),
        ("attn_type_list", [0, 1]),
        ("mamba_num_heads", 8),
        ("hybrid_override_pattern", "M?"),
        ("linear_attn_config", {"kda_layers": [1]}),
    ],
)
def test_what_cannot_be_sized_is_refused_by_key_and_value(key: str, value: object, models: Mapping[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        facts_of_config(models["Llama-3.1-8B"].config | {key: value})
    assert caught.value.field in {key, "layer_types", "torch_dtype"}
    assert caught.value.remedy


def test_more_active_experts_than_there_are_is_refused(models: Mapping[str, Any]) -> None:
    with pytest.raises(ConfigError, match="more than the 8 experts"):
        facts_of_config(models["Mixtral-8x7B"].config | {"num_experts_per_tok": 9})


@pytest.mark.parametrize("config", [None, [], "config.json", 7])
def test_what_is_no_object_is_refused(config: Any) -> None:
    with pytest.raises(ConfigError):
        facts_of_config(config)


def test_vision_parts_and_prediction_layers_are_said_not_to_count(models: Mapping[str, Any]) -> None:
    text = " ".join(facts_of_config(models["Gemma-3-4B"].config).assumes)
    assert "vision" in text
    assert "multi-token" in " ".join(facts_of_config(models["DeepSeek-V3"].config).assumes)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-4, 300) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
KEYS = (
    "num_hidden_layers", "hidden_size", "num_attention_heads", "num_key_value_heads", "head_dim", "vocab_size",
    "intermediate_size", "layer_types", "sliding_window", "sliding_window_pattern", "num_experts", "moe_layer_freq",
    "num_experts_per_tok", "quantization_config", "torch_dtype", "text_config", "kv_lora_rank", "index_topk",
    "linear_attn_config", "hybrid_override_pattern", "mlp_only_layers", "per_layer_config", "indexer_types",
    "model_type", "architectures", "moe_layers_enum", "hybrid_layer_pattern", "n_shared_experts", "hidden_act",
)  # fmt: skip


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), JSON, max_size=6))
def test_any_file_is_sized_or_refused_in_one_sentence(changes: dict[str, Any]) -> None:
    base = {"num_hidden_layers": 4, "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = base | {"intermediate_size": 128, "vocab_size": 100} | changes
    try:
        facts = facts_of_config(config)
    except ConfigError as error:
        assert "\n" not in str(error)
    else:
        assert facts.parameters.value >= facts.active_parameters.value > 0
        json.dumps(facts.assumes)
