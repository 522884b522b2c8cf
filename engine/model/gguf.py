"""A GGUF file as a source for conversion: its shape, its tokenizer, and its tensors expanded to float32.

The arithmetic of every quantised type is the `gguf` package's. Owned here: which architectures are served,
how GGUF's keys and names map to ours, and the order of rows in q and k. Only `engine.model.convert` imports
this file.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from .gguf_header import GgufTensor, read_gguf_header
from .gguf_tokenizer import build_tokenizer
from .layout import Part, weight_layout
from .shape import ModelShape, RopeScaling, check_shape
from .source import row_blocks
from .tensorfile import DamagedFileError

__all__ = ["SERVED_GGUF_ARCHITECTURES", "GgufSource"]

SERVED_GGUF_ARCHITECTURES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}

_TENSOR_NAMES = {
    "embedding": "token_embd.weight",
    "norm": "output_norm.weight",
    "lm_head": "output.weight",
    "attn_norm": "blk.{}.attn_norm.weight",
    "q": "blk.{}.attn_q.weight",
    "k": "blk.{}.attn_k.weight",
    "v": "blk.{}.attn_v.weight",
    "q_bias": "blk.{}.attn_q.bias",
    "k_bias": "blk.{}.attn_k.bias",
    "v_bias": "blk.{}.attn_v.bias",
    "q_norm": "blk.{}.attn_q_norm.weight",
    "k_norm": "blk.{}.attn_k_norm.weight",
    "o": "blk.{}.attn_output.weight",
    "ffn_norm": "blk.{}.ffn_norm.weight",
    "gate": "blk.{}.ffn_gate.weight",
    "up": "blk.{}.ffn_up.weight",
    "down": "blk.{}.ffn_down.weight",
}

_SPECIAL_TOKENS = {
    "bos_token": "bos_token_id",
    "eos_token": "eos_token_id",
    "pad_token": "padding_token_id",
    "unk_token": "unknown_token_id",
}
_END_OF_TURN = frozenset({"<|eot_id|>", "<|im_end|>", "<|eom_id|>", "<|end_of_turn|>"})
"""Control tokens that end an answer even when a file names only the end of text (llama.cpp does the same)."""

_NO_ROPE_SCALING = frozenset({"", "none"})


class GgufSource:
    """An opened GGUF file.

    Args:
        path: the file.

    Raises:
        ConfigError: the file is no GGUF file, is damaged, or holds a model that is not served.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._damage():
            self._header = read_gguf_header(path)
            self._tensors = self._header.tensors
            self._data = np.memmap(path, dtype=np.uint8, mode="r")
            self.shape = self._read_shape()
            self.chat_template = self._header.text("tokenizer.chat_template") or None
            types = Counter(tensor.type.name for tensor in self._tensors.values())
            self.facts: dict[str, object] = {
                "kind": "gguf",
                "name": self._header.text("general.name"),
                "license": self._header.text("general.license"),
                "tensor_types": dict(sorted(types.items())),
            }

    def check(self, part: Part) -> None:
        """See `Source.check`."""
        name = _name(part)
        tensor = self._tensors.get(name)
        if tensor is None:
            raise self._refuse(f"tensor {name} is missing", "download the file again or use another one")
        if tensor.shape != part.shape:
            problem = f"tensor {name} has shape {list(tensor.shape)} where {list(part.shape)} is expected"
            raise self._refuse(problem, "download the file again or use another one")
        _, block_bytes = gguf.GGML_QUANT_SIZES[tensor.type]
        try:
            gguf.dequantize(np.zeros((1, block_bytes), dtype=np.uint8), tensor.type)
        except NotImplementedError:
            problem = f"tensor {name} has the type {tensor.type.name}, which cannot be read"
            raise self._refuse(problem, "use a file in Q8_0, Q4_1, Q4_0, F16 or BF16") from None

    def rows(self, part: Part) -> Iterator[NDArray[np.float32]]:
        """See `Source.rows`."""
        tensor = self._tensors[_name(part)]
        stored = self._stored(tensor)
        if len(part.shape) == 1:
            yield gguf.dequantize(stored, tensor.type).reshape(-1)
            return
        for block in row_blocks(part.shape, multiple=self.shape.head_dim):
            yield self._in_order(part, gguf.dequantize(stored[block], tensor.type))

    def _stored(self, tensor: GgufTensor) -> NDArray[np.uint8]:
        """Returns the raw bytes of a tensor, [rows, bytes of a row]."""
        end = tensor.start + tensor.rows * tensor.row_bytes
        return self._data[tensor.start : end].reshape(tensor.rows, tensor.row_bytes)

    def tokenizer_json(self) -> str:
        """See `Source.tokenizer_json`."""
        with self._damage():
            return build_tokenizer(self._header, source=str(self._path)).to_str()

    def special_tokens(self) -> dict[str, str]:
        """See `Source.special_tokens`."""
        with self._damage():
            tokens = self._header.texts("tokenizer.ggml.tokens")
            ids = {role: self._header.token_id(f"tokenizer.ggml.{key}") for role, key in _SPECIAL_TOKENS.items()}
        return {role: tokens[index] for role, index in ids.items() if index is not None and index < len(tokens)}

    def _in_order(self, part: Part, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Returns whole heads of q or k in transformers' order; llama.cpp interleaves each head's two halves.

        Files of architectures qwen2 and qwen3 keep transformers' order, since llama.cpp rotates them by halves.
        """
        if part.kind not in {"q", "k"} or self.shape.architecture != "LlamaForCausalLM":
            return rows
        halves = rows.reshape(-1, self.shape.head_dim // 2, 2, rows.shape[1])
        return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(rows.shape)

    @contextmanager
    def _damage(self) -> Iterator[None]:
        try:
            yield
        except DamagedFileError as error:
            raise self._refuse(str(error), "give the path of a complete .gguf file") from None

    def _refuse(self, problem: str, remedy: str) -> ConfigError:
        return ConfigError("--model-path", str(self._path), problem, remedy)

    def _read_shape(self) -> ModelShape:
        arch = self._header.text("general.architecture")
        if arch not in SERVED_GGUF_ARCHITECTURES:
            served = " or ".join(SERVED_GGUF_ARCHITECTURES)
            raise self._refuse(f"the architecture {arch!r} is not served", f"use a file of architecture {served}")
        self._refuse_unserved(arch)
        hidden = self._header.integer(f"{arch}.embedding_length")
        heads = self._header.integer(f"{arch}.attention.head_count")
        head_dim = self._header.integer(f"{arch}.attention.key_length", hidden // max(heads, 1))
        for key in ("rope.dimension_count", "attention.value_length"):
            if (size := self._header.integer(f"{arch}.{key}", head_dim)) != head_dim:
                problem = f"{arch}.{key} is {size} while heads have {head_dim} elements, which is not served"
                raise self._refuse(problem, "use a model with full rotary heads")
        theta = float(self._header.number(f"{arch}.rope.freq_base", 10000.0))
        eps = np.float32(self._header.number(f"{arch}.attention.layer_norm_rms_epsilon", 1e-6))
        embedding = self._tensors.get("token_embd.weight")
        shape = ModelShape(
            architecture=SERVED_GGUF_ARCHITECTURES[arch],
            layers=self._header.integer(f"{arch}.block_count"),
            hidden=hidden,
            heads=heads,
            kv_heads=self._header.integer(f"{arch}.attention.head_count_kv", heads),
            head_dim=head_dim,
            ffn=self._header.integer(f"{arch}.feed_forward_length"),
            vocab=embedding.shape[0] if embedding is not None else 0,
            rope_theta=theta,
            rope_scaling=self._rope_scaling(arch, theta, head_dim),
            rms_eps=float(str(eps)),
            tie_embeddings="output.weight" not in self._tensors,
            context_length=self._header.integer(f"{arch}.context_length", 2048),
            qkv_bias=arch == "qwen2",
            eos_ids=self._eos_ids(),
            bos_id=self._header.token_id("tokenizer.ggml.bos_token_id"),
            qk_norm=arch == "qwen3",
        )
        check_shape(shape, source=str(self._path))
        self._refuse_unknown_tensors(shape)
        return shape

    def _refuse_unserved(self, arch: str) -> None:
        """Refuses settings that would change the result silently when ignored."""
        if (parts := self._header.integer("split.count", 1)) > 1:
            problem = f"the file is one of {parts} parts"
            raise self._refuse(problem, "join them with `llama-gguf-split --merge` first")
        if self._header.number(f"{arch}.expert_count", 0):
            raise self._refuse("mixtures of experts are not served", "use a dense model")
        if window := self._header.number(f"{arch}.attention.sliding_window", 0):
            problem = f"sliding window attention ({window} tokens) is not served"
            raise self._refuse(problem, "use a model with full attention")

    def _refuse_unknown_tensors(self, shape: ModelShape) -> None:
        """Refuses tensors that the forward pass would leave out, since it would then compute another model."""
        layout = weight_layout(replace(shape, layers=1))
        known = {_name(part) for tensor in layout for part in tensor.parts} | {"blk.0.attn_rot_embd.weight"}
        if extra := sorted({name for name in self._tensors if name.startswith("blk.0.")} - known):
            raise self._refuse(f"tensor {extra[0]} is not served", "use a plain Llama-family model")

    def _eos_ids(self) -> tuple[int, ...]:
        keys = ("eos_token_id", "eot_token_id", "eom_token_id")
        named = [self._header.token_id(f"tokenizer.ggml.{key}") for key in keys]
        tokens = self._header.texts("tokenizer.ggml.tokens")
        turns = [index for index, token in enumerate(tokens) if token in _END_OF_TURN]
        return tuple(dict.fromkeys(index for index in [*named, *turns] if index is not None))

    def _rope_scaling(self, arch: str, theta: float, head_dim: int) -> RopeScaling | None:
        kind = self._header.text(f"{arch}.rope.scaling.type")
        factors = self._tensors.get("rope_freqs.weight")
        if factors is not None:
            return self._llama3_scaling(
                gguf.dequantize(self._stored(factors), factors.type).reshape(-1), theta, head_dim
            )
        linear = float(
            self._header.number(f"{arch}.rope.scaling.factor", self._header.number(f"{arch}.rope.scale_linear", 1.0))
        )
        if kind not in _NO_ROPE_SCALING and kind != "linear":
            raise self._refuse(f"the rope type {kind} is not served", "use a file with rope none, linear or llama3")
        return None if kind in {"none"} or linear == 1.0 else RopeScaling("linear", linear)

    def _llama3_scaling(self, factors: NDArray[np.float32], theta: float, head_dim: int) -> RopeScaling | None:
        """Returns the llama3 parameters whose divisors are `factors` ([head_dim / 2]), None when all are 1.

        GGUF keeps only the divisors of the frequencies. Llama 3.1 to 3.3 share all parameters but the factor,
        which is the largest divisor; any other list of divisors is refused rather than guessed.
        """
        largest = float(factors.max())
        if largest == 1.0 == float(factors.min()):
            return None
        scaling = RopeScaling("llama3", largest)
        has_all = factors.size == head_dim // 2 and theta > 0
        if not has_all or not np.allclose(factors, _llama3_divisors(scaling, theta, head_dim), rtol=1e-4):
            problem = "its rope_freqs.weight is not that of rope type llama3"
            raise self._refuse(problem, "use a Llama 3 file or one without rope_freqs.weight")
        return scaling


def _name(part: Part) -> str:
    return _TENSOR_NAMES[part.kind].format(part.layer)


def _llama3_divisors(scaling: RopeScaling, theta: float, head_dim: int) -> list[float]:
    """Returns the divisors of the head_dim / 2 rope frequencies, as transformers' llama3 rope has them."""
    low = scaling.original_max_position / scaling.low_freq_factor
    high = scaling.original_max_position / scaling.high_freq_factor
    divisors = []
    for index in range(0, head_dim, 2):
        wavelength = 2 * math.pi * theta ** (index / head_dim)
        if wavelength < high:
            divisors.append(1.0)
        elif wavelength > low:
            divisors.append(scaling.factor)
        else:
            span = scaling.high_freq_factor - scaling.low_freq_factor
            blend = (scaling.original_max_position / wavelength - scaling.low_freq_factor) / span
            divisors.append(1 / ((1 - blend) / scaling.factor + blend))
    return divisors
