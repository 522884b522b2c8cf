"""Loading converted weights: layout, no copy, other types, damage."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pdpanel.engine.errors import ConfigError
from pdpanel.engine.model.convert import convert
from pdpanel.engine.model.converted import ConvertedModel, open_converted
from pdpanel.engine.model.progress import no_progress
from pdpanel.engine.model.weights import load_weights
from safetensors.torch import load_file, save_file

WriteGguf = Callable[..., Path]


def converted(path: Path, cache: Path) -> ConvertedModel:
    model = open_converted(convert(path, cache, no_progress))
    assert model is not None
    return model


def test_layers_hold_the_fused_tensors(tmp_path: Path, tiny_gguf: Path, tiny_model: Any) -> None:
    model = converted(tiny_gguf, tmp_path)
    weights = load_weights(model.directory, model.shape, torch.float32)
    w = {name: torch.from_numpy(weight) for name, weight in tiny_model.weights.items()}
    assert weights.lm_head is weights.embedding
    assert torch.equal(weights.embedding, w["model.embed_tokens.weight"])
    assert torch.equal(weights.norm, w["model.norm.weight"])
    assert len(weights.layers) == 2
    for i, layer in enumerate(weights.layers):
        p = f"model.layers.{i}."
        assert torch.equal(layer.qkv, torch.cat([w[f"{p}self_attn.{k}_proj.weight"] for k in "qkv"]))
        assert torch.equal(layer.gate_up, torch.cat([w[f"{p}mlp.{k}_proj.weight"] for k in ("gate", "up")]))
        assert torch.equal(layer.o, w[f"{p}self_attn.o_proj.weight"])
        assert torch.equal(layer.down, w[f"{p}mlp.down_proj.weight"])
        assert torch.equal(layer.attn_norm, w[f"{p}input_layernorm.weight"])
        assert torch.equal(layer.ffn_norm, w[f"{p}post_attention_layernorm.weight"])
        assert layer.qkv_bias is None
        assert (layer.q_norm, layer.k_norm) == (None, None)


def test_bias_and_an_output_matrix_of_its_own(
    tmp_path: Path, write_gguf: WriteGguf, make_tiny_model: Callable[..., Any]
) -> None:
    tiny = make_tiny_model(arch="qwen2", tied=False)
    model = converted(write_gguf(tmp_path / "m.gguf", tiny), tmp_path)
    weights = load_weights(model.directory, model.shape, torch.float32)
    w = {name: torch.from_numpy(weight) for name, weight in tiny.weights.items()}
    bias = weights.layers[1].qkv_bias
    assert bias is not None
    assert torch.equal(bias, torch.cat([w[f"model.layers.1.self_attn.{k}_proj.bias"] for k in "qkv"]))
    assert torch.equal(weights.lm_head, w["lm_head.weight"])


def test_norms_of_q_and_k_and_heads_of_a_size_of_their_own(
    tmp_path: Path, write_gguf: WriteGguf, make_tiny_model: Callable[..., Any]
) -> None:
    tiny = make_tiny_model(arch="qwen3", head_size=32)
    model = converted(write_gguf(tmp_path / "m.gguf", tiny), tmp_path)
    layer = load_weights(model.directory, model.shape, torch.float32).layers[1]
    w = {name: torch.from_numpy(weight) for name, weight in tiny.weights.items()}
    assert layer.q_norm is not None and layer.k_norm is not None
    assert torch.equal(layer.q_norm, w["model.layers.1.self_attn.q_norm.weight"])
    assert torch.equal(layer.k_norm, w["model.layers.1.self_attn.k_norm.weight"])
    assert torch.equal(layer.o, w["model.layers.1.self_attn.o_proj.weight"])
    assert (layer.o.shape, layer.qkv.shape) == ((64, 128), (256, 64))


def test_bfloat16_is_the_rounded_float32(tmp_path: Path, tiny_gguf: Path) -> None:
    model = converted(tiny_gguf, tmp_path)
    exact = load_weights(model.directory, model.shape, torch.float32)
    rounded = load_weights(model.directory, model.shape, torch.bfloat16)
    assert rounded.lm_head is rounded.embedding
    assert torch.equal(rounded.layers[0].qkv, exact.layers[0].qkv.bfloat16())


def test_float32_is_mapped_and_not_copied(
    tmp_path: Path, write_gguf: WriteGguf, make_tiny_model: Callable[..., Any]
) -> None:
    tiny = make_tiny_model(vocab=32768, hidden=512, heads=8, kv_heads=2, layers=1)
    model = converted(write_gguf(tmp_path / "m.gguf", tiny, quant="F16"), tmp_path)
    assert model.weights.stat().st_size > 64 << 20
    code = (
        "import sys, torch; from pathlib import Path\n"
        "from pdpanel.engine.model.converted import open_converted\n"
        "from pdpanel.engine.model.weights import load_weights\n"
        "def rss(kind):\n"
        "    lines = Path('/proc/self/status').read_text().splitlines()\n"
        "    return next(int(line.split()[1]) for line in lines if line.startswith(kind)) // 1024\n"
        "model = open_converted(Path(sys.argv[1]))\n"
        "before = rss('RssAnon'), rss('RssFile')\n"
        "weights = load_weights(model.directory, model.shape, torch.float32)\n"
        "weights.embedding.sum()\n"
        "print(rss('RssAnon') - before[0], rss('RssFile') - before[1])"
    )
    command = [sys.executable, "-c", code, str(model.directory)]
    anonymous, mapped = map(int, subprocess.run(command, check=True, capture_output=True).stdout.split())
    assert anonymous < 16, "the weights' 64 MiB were copied"
    assert mapped > 60, "the weights' pages come from the file"


def test_a_damaged_file_or_tensor_is_named(tmp_path: Path, tiny_gguf: Path) -> None:
    model = converted(tiny_gguf, tmp_path)
    tensors = {name: tensor.clone() for name, tensor in load_file(model.weights).items()}
    wider = replace(model.shape, ffn=128)
    with pytest.raises(ConfigError, match=r"layers\.0\.gate_up has shape \[192, 64\] where \[256, 64\]"):
        load_weights(model.directory, wider, torch.float32)
    del tensors["layers.1.o"]
    save_file(tensors, model.weights)
    with pytest.raises(ConfigError, match=r"layers\.1\.o is missing.*delete this directory"):
        load_weights(model.directory, model.shape, torch.float32)
    model.weights.write_bytes(model.weights.read_bytes()[:1000])
    with pytest.raises(ConfigError, match="damaged"):
        load_weights(model.directory, model.shape, torch.float32)
