"""A GGUF file as a conversion source: numbers, order of rows, refusals."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.engine.model.gguf import GgufSource
from pdpanel.engine.model.layout import Part, weight_layout
from pdpanel.engine.model.shape import RopeScaling

WriteGguf = Callable[..., Path]
ALL_QUANTS = ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"]


def part_of(source: GgufSource, kind: str, layer: int) -> Part:
    parts = (part for tensor in weight_layout(source.shape) for part in tensor.parts)
    return next(part for part in parts if (part.kind, part.layer) == (kind, layer))


def rows_of(source: GgufSource, kind: str, layer: int = -1) -> np.ndarray:
    return np.concatenate(list(source.rows(part_of(source, kind, layer))))


@pytest.mark.parametrize("quant", ALL_QUANTS)
def test_numbers_are_bit_equal_to_those_of_the_gguf_package(
    tmp_path: Path, write_gguf: WriteGguf, tiny_model: Any, quant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pdpanel.engine.model.source.BLOCK_BYTES", 4096)
    path = write_gguf(tmp_path / "m.gguf", tiny_model, quant=quant)
    source = GgufSource(path)
    expected = {t.name: gguf.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}
    names = {
        "embedding": "token_embd",
        "v": "blk.1.attn_v",
        "o": "blk.1.attn_output",
        "gate": "blk.1.ffn_gate",
    }
    names |= {
        "up": "blk.1.ffn_up",
        "down": "blk.1.ffn_down",
        "attn_norm": "blk.1.attn_norm",
        "norm": "output_norm",
    }
    for kind, name in names.items():
        found = rows_of(source, kind, 1 if "blk" in name else -1)
        assert found.dtype == np.float32
        assert np.array_equal(found, expected[name + ".weight"]), kind
    assert len(list(source.rows(part_of(source, "embedding", -1)))) > 1, "expanded in more than one block"


@pytest.mark.parametrize("arch", ["llama", "qwen2", "qwen3"])
def test_q_and_k_come_in_the_order_of_transformers(
    tmp_path: Path, write_gguf: WriteGguf, make_tiny_model: Callable[..., Any], arch: str
) -> None:
    model = make_tiny_model(arch=arch, tied=False, head_size=32 if arch == "qwen3" else 0)
    source = GgufSource(write_gguf(tmp_path / "m.gguf", model))
    for kind in ("q", "k", "v"):
        for suffix in ("weight", "bias") if arch == "qwen2" else ("weight",):
            found = rows_of(source, kind if suffix == "weight" else f"{kind}_bias", 1)
            assert np.array_equal(found, model.weights[f"model.layers.1.self_attn.{kind}_proj.{suffix}"])
    assert np.array_equal(rows_of(source, "lm_head"), model.weights["lm_head.weight"])
    for kind in ("q", "k") if arch == "qwen3" else ():
        expected = model.weights[f"model.layers.1.self_attn.{kind}_norm.weight"]
        assert np.array_equal(rows_of(source, f"{kind}_norm", 1), expected)
    assert source.shape.qkv_bias == (arch == "qwen2")
    assert (source.shape.qk_norm, source.shape.head_dim) == ((True, 32) if arch == "qwen3" else (False, 16))
    assert not source.shape.tie_embeddings


@pytest.mark.filterwarnings("ignore")
def test_transformers_loads_the_same_numbers(tmp_path: Path, write_gguf: WriteGguf, tiny_model: Any) -> None:
    """Transformers un-permutes by itself; both must land on the same tensors."""
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    path = write_gguf(tmp_path / "m.gguf", tiny_model, quant="Q4_1")
    shutil.copy(path, tmp_path / "copy.gguf")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="copy.gguf")
    state = model.state_dict()
    source = GgufSource(path)
    for layer in range(2):
        for kind in ("q", "k", "v", "o"):
            theirs = state[f"model.layers.{layer}.self_attn.{kind}_proj.weight"].float().numpy()
            assert np.array_equal(rows_of(source, kind, layer), theirs), (layer, kind)
        for kind in ("gate", "up", "down"):
            theirs = state[f"model.layers.{layer}.mlp.{kind}_proj.weight"].float().numpy()
            assert np.array_equal(rows_of(source, kind, layer), theirs), (layer, kind)
    assert np.array_equal(rows_of(source, "embedding"), state["model.embed_tokens.weight"].float().numpy())


def test_the_shape_is_that_of_the_file(tiny_gguf: Path) -> None:
    shape = GgufSource(tiny_gguf).shape
    assert (shape.layers, shape.hidden, shape.heads, shape.kv_heads, shape.head_dim) == (2, 64, 4, 2, 16)
    assert (shape.ffn, shape.vocab, shape.context_length, shape.tie_embeddings) == (96, 288, 512, True)
    assert shape.rms_eps == 1e-5, "a float32 in the file, but meant as this number"
    assert (shape.eos_ids, shape.bos_id) == ((2,), 1)


def llama3_divisors(head_dim: int, factor: float) -> np.ndarray:
    """What convert_hf_to_gguf.py writes into rope_freqs.weight for theta 10000."""
    divisors = []
    for index in range(0, head_dim, 2):
        wavelength = 2 * math.pi * 10000.0 ** (index / head_dim)
        if wavelength < 8192 / 4:
            divisors.append(1.0)
        elif wavelength > 8192 / 1:
            divisors.append(factor)
        else:
            smooth = (8192 / wavelength - 1) / (4 - 1)
            divisors.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(divisors, dtype=np.float32)


def test_llama3_rope_is_recognised_by_its_divisors(tmp_path: Path, write_gguf: WriteGguf, tiny_model: Any) -> None:
    divisors = llama3_divisors(16, 8.0)
    extra = {"rope_freqs.weight": divisors}
    source = GgufSource(write_gguf(tmp_path / "a.gguf", tiny_model, extra=extra))
    assert source.shape.rope_scaling == RopeScaling("llama3", 8.0, 1.0, 4.0, 8192)
    path = write_gguf(tmp_path / "b.gguf", tiny_model, extra={"rope_freqs.weight": divisors + 0.5})
    with pytest.raises(ConfigError, match="rope_freqs"):
        GgufSource(path)


def test_linear_rope_is_read(tmp_path: Path, write_gguf: WriteGguf, tiny_model: Any) -> None:
    numbers, texts = {"llama.rope.scaling.factor": 4.0}, {"llama.rope.scaling.type": "linear"}
    source = GgufSource(write_gguf(tmp_path / "a.gguf", tiny_model, numbers=numbers, texts=texts))
    assert source.shape.rope_scaling == RopeScaling("linear", 4.0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"texts": {"llama.rope.scaling.type": "yarn"}}, "rope type yarn"),
        ({"numbers": {"llama.expert_count": 8}}, "experts"),
        ({"numbers": {"llama.attention.sliding_window": 4096}}, "sliding window"),
        ({"numbers": {"llama.attention.value_length": 8}}, "value_length is 8"),
        ({"numbers": {"split.count": 3}}, "one of 3 parts"),
        ({"extra": {"blk.0.attn_q.bias": np.zeros(64, np.float32)}}, "blk.0.attn_q.bias"),
        ({"extra": {"blk.0.attn_q_norm.weight": np.zeros(64, np.float32)}}, "blk.0.attn_q_norm.weight"),
        ({"extra": {"blk.0.attn_output.bias": np.zeros(64, np.float32)}}, "blk.0.attn_output.bias"),
    ],
)
def test_what_would_be_computed_wrongly_is_refused(
    tmp_path: Path, write_gguf: WriteGguf, tiny_model: Any, options: dict[str, Any], words: str
) -> None:
    path = write_gguf(tmp_path / "m.gguf", tiny_model, **options)
    with pytest.raises(ConfigError, match=words):
        GgufSource(path)


def test_another_architecture_is_refused_by_name(
    tmp_path: Path, write_gguf: WriteGguf, make_tiny_model: Callable[..., Any]
) -> None:
    path = write_gguf(tmp_path / "m.gguf", make_tiny_model(arch="gemma2"))
    with pytest.raises(ConfigError, match=r"'gemma2' is not served.*llama or qwen2 or qwen3"):
        GgufSource(path)


def test_a_missing_misshaped_or_unreadable_tensor_is_named(
    tmp_path: Path, write_gguf: WriteGguf, make_tiny_model: Callable[..., Any], tiny_model: Any
) -> None:
    source = GgufSource(write_gguf(tmp_path / "a.gguf", tiny_model, omit=("blk.1.ffn_up.weight",)))
    with pytest.raises(ConfigError, match=r"blk\.1\.ffn_up\.weight is missing"):
        source.check(part_of(source, "up", 1))
    qwen3 = make_tiny_model(arch="qwen3")
    source = GgufSource(write_gguf(tmp_path / "q.gguf", qwen3, omit=("blk.1.attn_q_norm.weight",)))
    with pytest.raises(ConfigError, match=r"blk\.1\.attn_q_norm\.weight is missing"):
        source.check(part_of(source, "q_norm", 1))
    odd = make_tiny_model()
    odd.weights["model.layers.0.mlp.down_proj.weight"] = np.zeros((64, 64), np.float32)
    source = GgufSource(write_gguf(tmp_path / "b.gguf", odd))
    with pytest.raises(ConfigError, match=r"blk\.0\.ffn_down\.weight has shape \[64, 64\] where \[64, 96\]"):
        source.check(part_of(source, "down", 0))
    integers = {"blk.0.ffn_up.weight": np.zeros((96, 64), np.int8)}
    path = write_gguf(tmp_path / "c.gguf", tiny_model, omit=tuple(integers), extra=integers)
    with pytest.raises(ConfigError, match=r"blk\.0\.ffn_up\.weight has the type I8"):
        source = GgufSource(path)
        source.check(part_of(source, "up", 0))
