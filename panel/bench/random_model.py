"""Models of random weights in the shapes of real ones, for benchmarks and tests where no model can be downloaded.

Writes a folder in Hugging Face's layout (config.json, model.safetensors in bfloat16, a byte-level tokenizer) that
transformers, vLLM and the bundled engine open. Speed depends on shapes alone; what such a model says means nothing.
On the command line: `python -m pdpanel.panel.bench.random_model FOLDER SHAPE [--seed N]`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...engine.errors import ConfigError
from ...engine.model.layout import Part, weight_layout
from ...engine.model.shape import shape_from_hf_config
from ...engine.model.tensorfile import file_header, write_tensors

if TYPE_CHECKING:
    import numpy as np

__all__ = ["SHAPES", "TOKENS", "main", "write_random_model"]

TOKENS = range(16, 272)
"""Tokens that prompts can be made of: one byte each."""

_TINY: dict[str, Any] = {
    "num_hidden_layers": 3,
    "hidden_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "intermediate_size": 192,
    "vocab_size": 512,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
}

SHAPES: dict[str, dict[str, Any]] = {
    "qwen3-0.6b": {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "num_hidden_layers": 28,
        "hidden_size": 1024,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "intermediate_size": 3072,
        "vocab_size": 151936,
        "max_position_embeddings": 40960,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0,
        "tie_word_embeddings": True,
        "use_sliding_window": False,
    },
    "llama-tiny": {"architectures": ["LlamaForCausalLM"], "model_type": "llama", **_TINY},
    "qwen2-tiny": {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", **_TINY, "tie_word_embeddings": True},
    "qwen3-tiny": {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", **_TINY, "head_dim": 64},
    "mistral-tiny": {
        "architectures": ["MistralForCausalLM"],
        "model_type": "mistral",
        **_TINY,
        "num_attention_heads": 6,
        "sliding_window": 1024,
    },
}
"""What config.json says of each shape; the first one is that of Qwen/Qwen3-0.6B, the others serve tests."""

_COMMON: dict[str, Any] = {"hidden_act": "silu", "bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "bfloat16"}


def write_random_model(folder: Path, shape_name: str, seed: int = 0) -> Path:
    """Writes a model; the same shape and seed give the same files.

    Args:
        folder: is made when it is not there.
        shape_name: one of SHAPES. `qwen3-0.6b` takes 1.2 GB and some seconds.
        seed: of the weights.

    Returns:
        The folder.

    Raises:
        ConfigError: there is no such shape.
        OSError: the disk is full or cannot be written.
    """
    import numpy as np

    # Kept out of the imports at the top: the panel's commands start without numpy.
    from ...engine.model.huggingface import tensor_name

    if shape_name not in SHAPES:
        raise ConfigError("shape", shape_name, "there is no such shape", f"use one of {', '.join(SHAPES)}")
    config = {**SHAPES[shape_name], **_COMMON}
    shape = shape_from_hf_config(config, source=shape_name)
    parts = [part for tensor in weight_layout(shape) for part in tensor.parts]
    header, length = file_header(((tensor_name(part), part.shape) for part in parts), "BF16")
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "model.safetensors").open("wb") as file:
        blocks = (block for part in parts for block in _bfloat16(part, random))
        for _ in write_tensors(file, header, length, blocks):
            pass
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    _write_tokenizer(folder, shape.vocab)
    return folder


def _bfloat16(part: Part, random: np.random.Generator) -> Iterator[memoryview]:
    """Yields a tensor's bytes: weights that keep the size of what they multiply, norms around one, small biases."""
    import numpy as np

    from ...engine.model.source import row_blocks

    spread, mean = (0.1, float(part.kind.endswith("norm"))) if len(part.shape) == 1 else (part.shape[1] ** -0.5, 0.0)
    for block in row_blocks(part.shape):
        size = (block.stop - block.start, *part.shape[1:])
        values = random.standard_normal(size, dtype=np.float32) * np.float32(spread) + np.float32(mean)
        yield (values.view(np.uint32) >> 16).astype("<u2").data


def _write_tokenizer(folder: Path, vocabulary: int) -> None:
    """Writes a tokenizer of single bytes; the ids above them decode to words of their own, as a real one's do."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    tokens = [*(f"<|{place}|>" for place in range(TOKENS.start)), *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokens += [f"Ġw{number}" for number in range(TOKENS.stop, vocabulary)]
    tokenizer = Tokenizer(models.BPE(vocab={token: number for number, token in enumerate(tokens)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(tokens[: TOKENS.start])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "bos_token": tokens[1],
        "eos_token": tokens[2],
        "chat_template": "{% for message in messages %}{{ message['content'] }}\n{% endfor %}",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def main(arguments: Sequence[str]) -> int:
    """Writes the model that the command line names; returns the exit code."""
    parser = argparse.ArgumentParser("random_model", description="Write a model of random weights.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("shape", choices=tuple(SHAPES))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    print(write_random_model(options.folder, options.shape, options.seed))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
