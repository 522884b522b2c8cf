"""A Hugging Face directory as a conversion source."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pdpanel.engine.errors import ConfigError
from pdpanel.engine.model.convert import convert
from pdpanel.engine.model.converted import FORMAT, find_converted, open_converted
from pdpanel.engine.model.huggingface import HuggingFaceSource
from pdpanel.engine.model.progress import Progress, no_progress
from pdpanel.engine.text.tokenizer import Tokenizer
from safetensors.numpy import load_file, save_file

WriteHf = Callable[..., Path]


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("arch", ["llama", "qwen2", "qwen3"])
def test_fused_weights_are_exactly_those_of_the_files(
    tmp_path: Path, write_hf: WriteHf, make_tiny_model: Callable[..., Any], dtype: str, shards: int, arch: str
) -> None:
    tiny = make_tiny_model(arch=arch, tied=False)
    directory = write_hf(tmp_path / "m", tiny, dtype=dtype, shards=shards)
    model = open_converted(convert(directory, tmp_path / "cache", no_progress))
    assert model is not None
    cast = getattr(torch, dtype)
    stored = {n: torch.from_numpy(w).to(cast).float().numpy() for n, w in tiny.weights.items()}
    tensors, p = load_file(model.weights), "model.layers.1."
    assert np.array_equal(
        tensors["layers.1.qkv"], np.concatenate([stored[f"{p}self_attn.{k}_proj.weight"] for k in "qkv"])
    )
    assert ("layers.1.qkv_bias" in tensors) == (arch == "qwen2")
    assert ("layers.1.q_norm" in tensors) == ("layers.1.k_norm" in tensors) == (arch == "qwen3")
    if arch == "qwen3":
        assert np.array_equal(tensors["layers.1.k_norm"], stored[f"{p}self_attn.k_norm.weight"])
    assert np.array_equal(
        tensors["layers.1.gate_up"],
        np.concatenate([stored[f"{p}mlp.gate_proj.weight"], stored[f"{p}mlp.up_proj.weight"]]),
    )
    assert np.array_equal(tensors["lm_head"], stored["lm_head.weight"])
    assert np.array_equal(tensors["embedding"], stored["model.embed_tokens.weight"])
    assert model.chat_template == "{{ messages[0]['content'] }}"
    assert model.tokenizer_json.read_text() == (directory / "tokenizer.json").read_text()


def test_a_model_saved_by_transformers_is_read(tmp_path: Path, write_hf: WriteHf, tiny_model: Any) -> None:
    transformers = pytest.importorskip("transformers")
    directory = write_hf(tmp_path / "m", tiny_model)
    config = transformers.LlamaConfig(**tiny_model.hf_config())
    torch.manual_seed(3)
    theirs = transformers.LlamaForCausalLM(config).to(torch.bfloat16)
    theirs.save_pretrained(directory)
    model = open_converted(convert(directory, tmp_path / "cache", no_progress))
    assert model is not None
    assert model.shape.tie_embeddings
    assert model.shape.eos_ids == (2,)
    state, tensors = theirs.state_dict(), load_file(model.weights)
    assert np.array_equal(tensors["layers.0.down"], state["model.layers.0.mlp.down_proj.weight"].float().numpy())
    assert np.array_equal(tensors["embedding"], state["lm_head.weight"].float().numpy())


def test_any_changed_file_makes_a_new_conversion(tmp_path: Path, write_hf: WriteHf, tiny_model: Any) -> None:
    directory, cache = write_hf(tmp_path / "m", tiny_model), tmp_path / "cache"
    first = convert(directory, cache, no_progress)
    seen: list[Progress] = []
    assert convert(directory, cache, seen.append) == first
    assert not seen
    (directory / "chat_template.jinja").write_text("{{ 'other' }}")
    assert find_converted(directory, cache) is None
    second = open_converted(convert(directory, cache, no_progress))
    assert second is not None
    assert second.directory != first
    assert second.chat_template == "{{ 'other' }}", "the file wins over tokenizer_config.json"


def test_a_named_list_of_templates_has_a_default(tmp_path: Path, write_hf: WriteHf, tiny_model: Any) -> None:
    directory = write_hf(tmp_path / "m", tiny_model, generation={"eos_token_id": [2, 7]})
    templates = [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]
    (directory / "tokenizer_config.json").write_text(json.dumps({"chat_template": templates}))
    source = HuggingFaceSource(directory)
    assert source.chat_template == "d"
    assert source.shape.eos_ids == (2, 7)


def test_templates_see_the_special_tokens_of_the_directory(tmp_path: Path, write_hf: WriteHf, tiny_model: Any) -> None:
    directory = write_hf(tmp_path / "m", tiny_model)
    settings = {"chat_template": "{{ bos_token }}|{{ eos_token }}", "add_bos_token": True, "auto_map": {"x": "y"}}
    settings |= {"bos_token": {"content": "<s>", "special": True}, "eos_token": "</s>", "pad_token": None}
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))
    model = open_converted(convert(directory, tmp_path / "cache", no_progress))
    assert model is not None
    tokenizer = Tokenizer.load(model.tokenizer_json, model.chat_template)
    assert tokenizer.render_chat([{"role": "user", "content": "hi"}]) == "<s>|</s>"


@pytest.mark.parametrize(("name", "shape"), [("q_norm", None), ("k_norm", (8,)), ("k_norm", (2, 16))])
def test_the_norms_of_q_and_k_must_be_there_and_fit_the_heads(
    tmp_path: Path, write_hf: WriteHf, make_tiny_model: Callable[..., Any], name: str, shape: tuple[int, ...] | None
) -> None:
    tiny = make_tiny_model(arch="qwen3")
    tensor = f"model.layers.1.self_attn.{name}.weight"
    del tiny.weights[tensor]
    if shape is not None:
        tiny.weights[tensor] = np.ones(shape, np.float32)
    directory = write_hf(tmp_path / "m", tiny)
    words = f"{tensor} is missing" if shape is None else rf"{tensor} has shape \[{shape[0]}.*where \[16\]"
    with pytest.raises(ConfigError, match=words):
        convert(directory, tmp_path / "cache", no_progress)


@pytest.mark.parametrize(
    "name", ["self_attn.q_norm.weight", "self_attn.o_proj.bias", "mlp.gate_proj.bias", "self_attn.q_proj.bias"]
)
def test_a_tensor_that_the_forward_pass_would_leave_out_is_refused(
    tmp_path: Path, write_hf: WriteHf, make_tiny_model: Callable[..., Any], name: str
) -> None:
    tiny = make_tiny_model()
    tiny.weights[f"model.layers.1.{name}"] = np.ones(16, np.float32)
    with pytest.raises(ConfigError, match=f"model.layers.1.{name} is not served for LlamaForCausalLM"):
        HuggingFaceSource(write_hf(tmp_path / "m", tiny))


def test_rope_frequencies_of_old_files_are_no_obstacle(
    tmp_path: Path, write_hf: WriteHf, make_tiny_model: Callable[..., Any]
) -> None:
    tiny = make_tiny_model()
    tiny.weights["model.layers.0.self_attn.rotary_emb.inv_freq"] = np.ones(8, np.float32)
    assert HuggingFaceSource(write_hf(tmp_path / "m", tiny)).shape.layers == 2


def break_model(directory: Path, how: str) -> None:
    weights = directory / "model.safetensors"
    if how in {"missing", "misshaped", "typed"}:
        tensors = load_file(weights)
        name = "model.layers.1.mlp.up_proj.weight"
        if how == "missing":
            del tensors[name]
        else:
            tensors[name] = np.zeros((96, 64) if how == "typed" else (3, 64), np.int32 if how == "typed" else "f4")
        save_file(tensors, weights)
    elif how == "cut":
        weights.write_bytes(weights.read_bytes()[:-1])
    elif how == "no weights":
        weights.unlink()
    elif how == "no config":
        (directory / "config.json").write_text("[]")
    elif how == "no tokenizer":
        (directory / "tokenizer.json").unlink()
    elif how == "no shard":
        index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
        (directory / "model.safetensors.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("missing", r"tensor model\.layers\.1\.mlp\.up_proj\.weight is missing"),
        ("misshaped", r"up_proj\.weight has shape \[3, 64\] where \[96, 64\]"),
        ("typed", r"up_proj\.weight has the type I32"),
        ("cut", r"model\.safetensors is truncated"),
        ("no weights", r"model\.safetensors is missing"),
        ("no config", r"config\.json is no JSON object"),
        ("no tokenizer", r"no tokenizer\.json; save it with"),
        ("no shard", r"model-00001-of-00002\.safetensors is missing"),
    ],
)
def test_what_is_missing_or_damaged_is_named(
    tmp_path: Path, write_hf: WriteHf, tiny_model: Any, how: str, words: str
) -> None:
    directory = write_hf(tmp_path / "m", tiny_model)
    break_model(directory, how)
    with pytest.raises(ConfigError, match=words) as caught:
        convert(directory, tmp_path / "cache", no_progress)
    assert caught.value.value == str(directory)
    assert not list((tmp_path / "cache").glob(f"converted/*-{FORMAT}/"))
