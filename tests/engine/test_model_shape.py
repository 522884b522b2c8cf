"""Shapes from transformers' config.json, versions 4 and 5, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.engine.model.expert_shape import ExpertShape
from pdpanel.engine.model.shape import ModelShape, RopeScaling, shape_from_hf_config, shape_from_json

BASE: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "num_hidden_layers": 30,
    "hidden_size": 576,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "intermediate_size": 1536,
    "vocab_size": 49152,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5,
    "rope_theta": 100000.0,
    "tie_word_embeddings": True,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
LLAMA3 = {
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
    "rope_type": "llama3",
}

MIXTRAL = {"architectures": ["MixtralForCausalLM"], "num_local_experts": 8, "num_experts_per_tok": 2}
QWEN_MOE = {
    "architectures": ["Qwen3MoeForCausalLM"],
    "num_experts": 16,
    "num_experts_per_tok": 4,
    "moe_intermediate_size": 768,
}


def shape_of(**changes: Any) -> ModelShape:
    return shape_from_hf_config({**BASE, **changes}, source="m")


def test_default_model_has_the_published_kv_size() -> None:
    shape = shape_of()
    assert (shape.head_dim, shape.q_rows, shape.kv_rows) == (64, 576, 192)
    assert shape.kv_bytes_per_token(2) == 23_040
    assert shape.kv_bytes_per_token(4) == 46_080
    assert (shape.eos_ids, shape.bos_id, shape.rope_scaling, shape.qkv_bias) == ((2,), 1, None, False)


def test_both_ways_to_write_rope_are_read() -> None:
    old = shape_of(rope_theta=5e5, rope_scaling=LLAMA3)
    new = shape_of(rope_theta=None, rope_parameters={**LLAMA3, "rope_theta": 5e5})
    assert old == new
    assert old.rope_theta == 5e5
    assert old.rope_scaling == RopeScaling("llama3", 8.0, 1.0, 4.0, 8192)
    assert shape_of(rope_scaling={"type": "linear", "factor": 2.0}).rope_scaling == RopeScaling("linear", 2.0)
    assert shape_of(rope_parameters={"rope_type": "default", "rope_theta": 7.0}).rope_theta == 7.0


def test_configs_written_by_transformers_are_read(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 99}
    llama3 = {**LLAMA3, "original_max_position_embeddings": 64, "rope_theta": 5e5}
    made = {
        "LlamaForCausalLM": transformers.LlamaConfig(
            **sizes, rope_parameters=llama3, tie_word_embeddings=True, max_position_embeddings=512
        ),
        "MistralForCausalLM": transformers.MistralConfig(**sizes, head_dim=32, sliding_window=None),
        "Qwen2ForCausalLM": transformers.Qwen2Config(**sizes, eos_token_id=[5, 6]),
        "Qwen3ForCausalLM": transformers.Qwen3Config(**sizes),
    }
    for name, config in made.items():
        config.architectures = [name]
        config.save_pretrained(tmp_path)
        shape = shape_from_hf_config(json.loads((tmp_path / "config.json").read_text()), source="m")
        assert shape.architecture == name
        assert (shape.hidden, shape.heads, shape.kv_heads, shape.vocab) == (64, 4, 2, 99)
        assert shape.layers == config.num_hidden_layers
        assert shape.ffn == config.intermediate_size
        assert shape.head_dim == {"MistralForCausalLM": 32, "Qwen3ForCausalLM": 128}.get(name, 16)
        assert shape.qk_norm == name.startswith("Qwen3")
        assert shape.sliding_window is None
        assert shape.rope_theta == config.rope_parameters["rope_theta"]
        assert shape.tie_embeddings == name.startswith("Llama")
        assert shape.qkv_bias == name.startswith("Qwen2")
        assert (shape.rope_scaling is not None) == name.startswith("Llama")
        assert shape.eos_ids == ((5, 6) if name.startswith("Qwen2") else (2,) if config.eos_token_id else ())


def test_experts_are_read_as_transformers_4_and_5_write_them() -> None:
    mixtral = shape_of(**MIXTRAL)
    assert mixtral.experts == ExpertShape(8, 2, 1536, normalised=True)
    assert not mixtral.qk_norm and all(mixtral.has_experts(layer) for layer in range(30))
    qwen = shape_of(**QWEN_MOE)
    assert qwen.experts == ExpertShape(16, 4, 768, normalised=False)
    assert qwen.qk_norm and qwen.head_dim == 64
    renamed = {**QWEN_MOE, "num_experts": None, "num_local_experts": 16}
    assert shape_of(**renamed, norm_topk_prob=True).experts == ExpertShape(16, 4, 768, normalised=True)
    some = shape_of(**QWEN_MOE, decoder_sparse_step=3, mlp_only_layers=[5, 6])
    assert [layer for layer in range(12) if some.has_experts(layer)] == [2, 8, 11]
    assert not any(shape_of().has_experts(layer) for layer in range(30))


def test_models_with_experts_slide_in_every_layer_or_in_none() -> None:
    for changes, window in (
        (MIXTRAL, 4096),
        (QWEN_MOE, None),
        ({**QWEN_MOE, "use_sliding_window": True, "max_window_layers": 99}, 4096),
    ):
        assert shape_of(**changes, sliding_window=4096).sliding_window == window


def test_a_shape_that_was_written_before_there_were_experts_is_read() -> None:
    old = shape_of().as_json()
    assert old.pop("experts") is None
    assert shape_from_json(json.loads(json.dumps(old))) == shape_of()
    new = shape_of(**QWEN_MOE, mlp_only_layers=[1])
    assert shape_from_json(json.loads(json.dumps(new.as_json()))) == new


def test_generation_config_names_the_end_tokens() -> None:
    generation = {"eos_token_id": [128001, 128009], "bos_token_id": None}
    shape = shape_from_hf_config(BASE, source="m", generation=generation)
    assert shape.eos_ids == (128001, 128009)
    assert shape.bos_id == 1


@pytest.mark.parametrize("name", ["Qwen2ForCausalLM", "Qwen3ForCausalLM"])
def test_a_sliding_window_that_no_layer_uses_is_no_obstacle(name: str) -> None:
    changes = {"architectures": [name], "sliding_window": 4096, "head_dim": 64}
    unused = [
        {"use_sliding_window": False, "max_window_layers": 0},
        {"use_sliding_window": True, "max_window_layers": 30},
        {"use_sliding_window": True, "layer_types": ["full_attention"] * 30},
        {"use_sliding_window": True, "max_window_layers": 0, "sliding_window": None},
    ]
    for more in unused:
        shape = shape_of(**{**changes, **more})
        assert (shape.sliding_window, shape.context_length) == (None, 8192)


@pytest.mark.parametrize(
    "changes",
    [
        {"architectures": ["MistralForCausalLM"]},
        {"architectures": ["Qwen2ForCausalLM"], "use_sliding_window": True, "max_window_layers": 29},
        {"architectures": ["Qwen3ForCausalLM"], "use_sliding_window": True},
        {
            "architectures": ["Qwen3ForCausalLM"],
            "use_sliding_window": True,
            "max_window_layers": 30,
            "layer_types": ["full_attention", "sliding_attention"],
        },
    ],
)
def test_the_context_ends_where_a_sliding_window_begins_to_forget(changes: dict[str, Any]) -> None:
    shape = shape_of(**changes, sliding_window=4096)
    assert (shape.sliding_window, shape.context_length) == (4096, 4096)
    shape = shape_of(**changes, sliding_window=100_000)
    assert (shape.sliding_window, shape.context_length) == (100_000, 8192), "wider than the model's context"


def test_heads_have_the_size_that_the_config_gives_else_that_of_the_class() -> None:
    qwen3 = {"architectures": ["Qwen3ForCausalLM"], "hidden_size": 1024, "num_attention_heads": 16}
    assert shape_of(**qwen3, num_key_value_heads=8).head_dim == 128
    shape = shape_of(**qwen3, num_key_value_heads=8, head_dim=96)
    assert (shape.head_dim, shape.q_rows, shape.kv_rows, shape.qk_norm) == (96, 1536, 768, True)
    assert shape_of(head_dim=None).head_dim == 64


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architectures": ["GPT2LMHeadModel"]}, ["GPT2LMHeadModel", "Qwen2ForCausalLM", "Qwen3ForCausalLM"]),
        ({"architectures": ["Qwen2MoeForCausalLM"]}, ["Qwen2MoeForCausalLM is not served", "Qwen3MoeForCausalLM"]),
        ({"architectures": ["MixtralForCausalLM"]}, ["lacks num_local_experts"]),
        ({**MIXTRAL, "num_experts_per_tok": 9}, ["num_experts_per_tok is 9 of 8 experts"]),
        ({**MIXTRAL, "num_local_experts": 0}, ["num_experts_per_tok is 2 of 0 experts"]),
        ({**MIXTRAL, "num_local_experts": 10**9}, ["1000000000 experts", "more than 65536"]),
        (QWEN_MOE | {"moe_intermediate_size": None}, ["lacks moe_intermediate_size"]),
        (QWEN_MOE | {"moe_intermediate_size": 0}, ["moe_intermediate_size is 0"]),
        (QWEN_MOE | {"decoder_sparse_step": 0}, ["decoder_sparse_step is 0"]),
        (QWEN_MOE | {"mlp_only_layers": "all"}, ["mlp_only_layers 'all' is neither a layer's number nor a list"]),
        (QWEN_MOE | {"attention_bias": True}, ["attention_bias", "Qwen3MoeForCausalLM"]),
        ({"architectures": None, "model_type": "bert"}, ["bert"]),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, ["yarn", "default, linear, llama3"]),
        ({"rope_scaling": {"rope_type": "linear"}}, ["lacks factor"]),
        ({"architectures": ["MistralForCausalLM"], "sliding_window": 0}, ["sliding_window is 0"]),
        ({"architectures": ["MistralForCausalLM"], "sliding_window": "4k"}, ["sliding_window '4k' is not a number"]),
        ({"layer_types": ["full_attention", "linear_attention"]}, ["linear_attention"]),
        ({"attention_bias": True}, ["attention_bias"]),
        ({"architectures": ["Qwen3ForCausalLM"], "attention_bias": True}, ["attention_bias", "Qwen3ForCausalLM"]),
        ({"mlp_bias": True}, ["mlp_bias"]),
        ({"hidden_act": "gelu"}, ["gelu"]),
        ({"partial_rotary_factor": 0.5}, ["partial rotary"]),
        ({"quantization_config": {"quant_method": "awq"}}, ["awq"]),
        ({"hidden_size": None}, ["lacks hidden_size"]),
        ({"hidden_size": "576"}, ["hidden_size '576' is not a number"]),
        ({"hidden_size": 576.5}, ["not a whole number"]),
        ({"num_hidden_layers": 0}, ["layers is 0"]),
        ({"num_key_value_heads": 2}, ["9 query heads"]),
        ({"head_dim": 63}, ["63 is odd"]),
        ({"eos_token_id": "2"}, ["eos_token_id"]),
    ],
)
def test_what_is_not_served_is_refused_by_name(changes: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        shape_of(**changes)
    assert caught.value.field == "--model-path"
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("scaling", [None, RopeScaling("llama3", 32.0)])
def test_json_round_trip(scaling: RopeScaling | None) -> None:
    changes = {"architectures": ["Qwen3ForCausalLM"], "use_sliding_window": True, "sliding_window": 64}
    shape = shape_of(rope_scaling=None if scaling is None else {**LLAMA3, "factor": 32.0}, **changes)
    assert shape.qk_norm and shape.sliding_window == 64
    assert shape.rope_scaling == scaling
    assert shape_from_json(json.loads(json.dumps(shape.as_json()))) == shape
