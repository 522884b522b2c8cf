"""A converted model's weights as torch tensors: mapped from the file, without a copy, in float32.

Owns how the file's tensors become layers. The pages stay file-backed: two workers on one host share them, and
the kernel may drop them. Another dtype costs a copy of that dtype. Called by the worker at start.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from ..errors import ConfigError
from .experts import ExpertWeights
from .layout import weight_layout
from .shape import ModelShape

__all__ = ["LayerWeights", "Weights", "load_weights"]


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """One decoder layer; projections are [out, in], as `torch.nn.functional.linear` takes them.

    A layer with experts has them in place of a feed-forward network, whose `gate_up` and `down` then have no columns.
    """

    attn_norm: torch.Tensor  # [hidden]
    qkv: torch.Tensor  # [q_rows + 2 * kv_rows, hidden]: q, k, v
    qkv_bias: torch.Tensor | None  # [q_rows + 2 * kv_rows]
    q_norm: torch.Tensor | None  # [head_dim], for each head before rope
    k_norm: torch.Tensor | None  # [head_dim]
    o: torch.Tensor  # [hidden, q_rows]
    ffn_norm: torch.Tensor  # [hidden]
    gate_up: torch.Tensor  # [2 * ffn, hidden]: gate, up
    down: torch.Tensor  # [hidden, ffn]
    experts: ExpertWeights | None = None


@dataclass(frozen=True, slots=True)
class Weights:
    """All weights; with tied embeddings `lm_head` is the very tensor `embedding`."""

    embedding: torch.Tensor  # [vocab, hidden]
    layers: tuple[LayerWeights, ...]
    norm: torch.Tensor  # [hidden]
    lm_head: torch.Tensor  # [vocab, hidden]


def load_weights(
    directory: Path, shape: ModelShape, dtype: torch.dtype = torch.float32, device: torch.device | None = None
) -> Weights:
    """Returns the weights of a converted directory.

    Args:
        directory: as `engine.model.store.resolve_model` returns it.
        shape: of the same model.
        dtype: float32 maps the file; any other type copies.
        device: where they go; None is the CPU, and any other one copies.

    Raises:
        ConfigError: a tensor is missing or misshaped, or the file is damaged.
    """
    path = directory / "weights.safetensors"
    try:
        with safe_open(path, framework="pt") as file:
            stored = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError) as error:
        raise _refuse(directory, f"weights.safetensors is damaged ({error})") from None
    expected = {tensor.name: tensor.shape for tensor in weight_layout(shape)}
    for name, wanted in expected.items():
        if name not in stored:
            raise _refuse(directory, f"tensor {name} is missing from weights.safetensors")
        if tuple(stored[name].shape) != wanted:
            found = list(stored[name].shape)
            raise _refuse(directory, f"tensor {name} has shape {found} where {list(wanted)} is expected")

    def take(name: str) -> torch.Tensor:
        tensor = stored.pop(name)
        return (tensor if device is None else tensor.to(device)).to(dtype)

    embedding = take("embedding")
    return Weights(
        embedding=embedding,
        layers=tuple(
            _layer(take, f"layers.{index}.", shape, shape.has_experts(index)) for index in range(shape.layers)
        ),
        norm=take("norm"),
        lm_head=embedding if shape.tie_embeddings else take("lm_head"),
    )


def _layer(take: Callable[[str], torch.Tensor], prefix: str, shape: ModelShape, has_experts: bool) -> LayerWeights:
    ffn_norm = take(prefix + "ffn_norm")
    experts = _experts(take, prefix, shape) if has_experts else None
    return LayerWeights(
        attn_norm=take(prefix + "attn_norm"),
        qkv=take(prefix + "qkv"),
        qkv_bias=take(prefix + "qkv_bias") if shape.qkv_bias else None,
        q_norm=take(prefix + "q_norm") if shape.qk_norm else None,
        k_norm=take(prefix + "k_norm") if shape.qk_norm else None,
        o=take(prefix + "o"),
        ffn_norm=ffn_norm,
        gate_up=ffn_norm.new_empty((0, shape.hidden)) if experts else take(prefix + "gate_up"),
        down=ffn_norm.new_empty((shape.hidden, 0)) if experts else take(prefix + "down"),
        experts=experts,
    )


def _experts(take: Callable[[str], torch.Tensor], prefix: str, shape: ModelShape) -> ExpertWeights:
    assert shape.experts is not None
    count = shape.experts.count
    return ExpertWeights(
        router=take(prefix + "router"),
        ids=tuple(range(count)),
        gate_up=take(prefix + "experts_gate_up").chunk(count),
        down=take(prefix + "experts_down").chunk(count),
    )


def _refuse(directory: Path, problem: str) -> ConfigError:
    return ConfigError("--model-path", str(directory), problem, "delete this directory and start again")
