"""Tiny models with random weights for the engine's tests, as GGUF files and Hugging Face directories."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass(frozen=True)
class TinyModel:
    """A random Llama-family model, 2 layers by default; weights carry transformers' names and row order."""

    layers: int = 2
    hidden: int = 64
    heads: int = 4
    kv_heads: int = 2
    ffn: int = 96
    vocab: int = 288
    tied: bool = True
    arch: str = "llama"
    seed: int = 1
    head_size: int = 0
    weights: dict[str, Array] = field(default_factory=dict)

    @property
    def head_dim(self) -> int:
        return self.head_size or self.hidden // self.heads

    def make_weights(self) -> TinyModel:
        random = np.random.default_rng(self.seed)
        q, kv, put = self.heads * self.head_dim, self.kv_heads * self.head_dim, self.weights
        shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (self.vocab, self.hidden)}
        for i in range(self.layers):
            p = f"model.layers.{i}."
            shapes[p + "input_layernorm.weight"] = (self.hidden,)
            for name, rows in (("q", q), ("k", kv), ("v", kv)):
                shapes[f"{p}self_attn.{name}_proj.weight"] = (rows, self.hidden)
                if self.arch == "qwen2":
                    shapes[f"{p}self_attn.{name}_proj.bias"] = (rows,)
                if self.arch == "qwen3" and name != "v":
                    shapes[f"{p}self_attn.{name}_norm.weight"] = (self.head_dim,)
            shapes[p + "self_attn.o_proj.weight"] = (self.hidden, q)
            shapes[p + "post_attention_layernorm.weight"] = (self.hidden,)
            shapes[p + "mlp.gate_proj.weight"] = (self.ffn, self.hidden)
            shapes[p + "mlp.up_proj.weight"] = (self.ffn, self.hidden)
            shapes[p + "mlp.down_proj.weight"] = (self.hidden, self.ffn)
        shapes["model.norm.weight"] = (self.hidden,)
        if not self.tied:
            shapes["lm_head.weight"] = (self.vocab, self.hidden)
        for name, shape in shapes.items():
            put[name] = random.normal(0, 0.2, shape).astype(np.float32)
        return self

    def hf_config(self) -> dict[str, Any]:
        return {
            "architectures": [_CLASSES.get(self.arch, "LlamaForCausalLM")],
            "model_type": self.arch,
            "num_hidden_layers": self.layers,
            "hidden_size": self.hidden,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "intermediate_size": self.ffn,
            "vocab_size": self.vocab,
            "max_position_embeddings": 512,
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "tie_word_embeddings": self.tied,
            "bos_token_id": 1,
            "eos_token_id": 2,
        }


_CLASSES = {"qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}
SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
MERGES = (("Ġ", "t"), ("h", "e"), ("Ġt", "he"), ("i", "n"), ("a", "n"), ("an", "d"))

_GGUF_NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
    "input_layernorm.weight": "attn_norm.weight",
    "self_attn.q_proj.weight": "attn_q.weight",
    "self_attn.k_proj.weight": "attn_k.weight",
    "self_attn.v_proj.weight": "attn_v.weight",
    "self_attn.q_proj.bias": "attn_q.bias",
    "self_attn.k_proj.bias": "attn_k.bias",
    "self_attn.v_proj.bias": "attn_v.bias",
    "self_attn.q_norm.weight": "attn_q_norm.weight",
    "self_attn.k_norm.weight": "attn_k_norm.weight",
    "self_attn.o_proj.weight": "attn_output.weight",
    "post_attention_layernorm.weight": "ffn_norm.weight",
    "mlp.gate_proj.weight": "ffn_gate.weight",
    "mlp.up_proj.weight": "ffn_up.weight",
    "mlp.down_proj.weight": "ffn_down.weight",
}


def byte_level_vocabulary(vocab: int) -> list[str]:
    """Special tokens, the 256 byte letters, the results of the merges, and fillers up to `vocab`."""
    from tokenizers import pre_tokenizers

    tokens = [*SPECIAL_TOKENS, *sorted(pre_tokenizers.ByteLevel.alphabet()), *(a + b for a, b in MERGES)]
    return [*tokens, *(f"filler{i}" for i in range(vocab - len(tokens)))]


def _gguf_name(name: str) -> str:
    if name in _GGUF_NAMES:
        return _GGUF_NAMES[name]
    _, _, layer, rest = name.split(".", 3)
    return f"blk.{layer}.{_GGUF_NAMES[rest]}"


def _permuted(model: TinyModel, name: str, weight: Array) -> Array:
    """Rows of q and k as llama.cpp's convert_hf_to_gguf.py stores them for its architecture llama."""
    if model.arch != "llama" or not name.endswith(("q_proj.weight", "k_proj.weight")):
        return weight
    heads = weight.shape[0] // model.head_dim
    return weight.reshape(heads, 2, model.head_dim // 2, -1).swapaxes(1, 2).reshape(weight.shape)


WriteGguf = Callable[..., Path]


@pytest.fixture(scope="session")
def write_gguf() -> WriteGguf:
    """Writes a `TinyModel` as a GGUF file: `write_gguf(path, model, quant="Q4_0", omit=("a",))`."""
    import gguf

    def write(
        path: Path,
        model: TinyModel,
        *,
        quant: str = "F32",
        omit: tuple[str, ...] = (),
        extra: Mapping[str, Array] | None = None,
        texts: Mapping[str, str] | None = None,
        numbers: Mapping[str, float] | None = None,
        chat_template: str | None = "{{ messages[0]['content'] }}",
        raw: Mapping[str, NDArray[np.uint8]] | None = None,
    ) -> Path:
        writer = gguf.GGUFWriter(path, model.arch)
        writer.add_block_count(model.layers)
        writer.add_context_length(512)
        writer.add_embedding_length(model.hidden)
        writer.add_feed_forward_length(model.ffn)
        writer.add_head_count(model.heads)
        writer.add_head_count_kv(model.kv_heads)
        if model.head_size:
            writer.add_key_length(model.head_size)
            writer.add_value_length(model.head_size)
        writer.add_rope_freq_base(10000.0)
        writer.add_rope_dimension_count(model.head_dim)
        writer.add_layer_norm_rms_eps(1e-5)
        writer.add_vocab_size(model.vocab)
        tokens = byte_level_vocabulary(model.vocab)
        special = len(SPECIAL_TOKENS)
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre((texts or {}).get("tokenizer.ggml.pre", "smollm"))
        writer.add_token_list(tokens)
        writer.add_token_types([3] * special + [1] * (len(tokens) - special))
        writer.add_token_merges([f"{a} {b}" for a, b in MERGES])
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        if chat_template is not None:
            writer.add_chat_template(chat_template)
        for key, text in (texts or {}).items():
            if key != "tokenizer.ggml.pre":
                writer.add_string(key, text)
        for key, number in (numbers or {}).items():
            if isinstance(number, int):
                writer.add_uint32(key, number)
            else:
                writer.add_float32(key, number)
        kind = gguf.GGMLQuantizationType[quant]
        for name, weight in model.weights.items():
            stored = _gguf_name(name)
            if stored in omit:
                continue
            if raw and stored in raw:
                writer.add_tensor(stored, raw[stored], raw_dtype=kind)
            elif weight.ndim == 1:
                writer.add_tensor(stored, weight)
            else:
                blocks = gguf.quantize(_permuted(model, name, weight), kind)
                writer.add_tensor(stored, blocks, raw_dtype=kind)
        for name, weight in (extra or {}).items():
            writer.add_tensor(name, weight)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path

    return write


@pytest.fixture(scope="session")
def make_tiny_model() -> Callable[..., TinyModel]:
    """Makes a `TinyModel`, with random weights, from its dimensions."""
    return lambda **dimensions: TinyModel(**dimensions).make_weights()


@pytest.fixture(scope="session")
def tiny_model() -> TinyModel:
    """A tied Llama."""
    return TinyModel().make_weights()


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory, write_gguf: WriteGguf, tiny_model: TinyModel) -> Path:
    """The tied Llama as a GGUF file in F32."""
    return write_gguf(tmp_path_factory.mktemp("tiny") / "tiny.gguf", tiny_model)


@pytest.fixture(scope="session")
def write_hf() -> Callable[..., Path]:
    """Writes a `TinyModel` as a directory: `write_hf(directory, model, dtype="bfloat16", shards=2)`."""
    import json

    import torch
    from safetensors.torch import save_file
    from tokenizers import Tokenizer, models, pre_tokenizers

    def write(
        directory: Path,
        model: TinyModel,
        *,
        dtype: str = "float32",
        shards: int = 1,
        config: Mapping[str, Any] | None = None,
        generation: Mapping[str, Any] | None = None,
    ) -> Path:
        directory.mkdir(parents=True, exist_ok=True)
        tensors = {name: torch.from_numpy(weight).to(getattr(torch, dtype)) for name, weight in model.weights.items()}
        names = sorted(tensors)
        files = [f"model-{i + 1:05}-of-{shards:05}.safetensors" for i in range(shards)]
        if shards == 1:
            files = ["model.safetensors"]
        else:
            placed = {name: files[i % shards] for i, name in enumerate(names)}
            index = {"metadata": {}, "weight_map": placed}
            (directory / "model.safetensors.index.json").write_text(json.dumps(index))
        for i, file in enumerate(files):
            save_file({name: tensors[name] for name in names[i::shards]}, directory / file)
        (directory / "config.json").write_text(json.dumps({**model.hf_config(), **(config or {})}))
        if generation is not None:
            (directory / "generation_config.json").write_text(json.dumps(generation))
        vocab = {token: i for i, token in enumerate(byte_level_vocabulary(model.vocab))}
        tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=list(MERGES)))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.save(str(directory / "tokenizer.json"))
        settings = {"chat_template": "{{ messages[0]['content'] }}"}
        (directory / "tokenizer_config.json").write_text(json.dumps(settings))
        return directory

    return write
