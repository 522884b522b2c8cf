"""Tiny models whose weights lie on the kernels' grids, so that torch computes the very same model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pdpanel.engine.model.llama import Llama
from pdpanel.engine.model.shape import ModelShape
from pdpanel.engine.model.weights import LayerWeights, Weights
from pdpanel.engine.native.executor import NativeLlama, heads_of
from pdpanel.engine.native.formats import FORMATS, Format, pack, unpack
from pdpanel.engine.native.library import open_library
from pdpanel.engine.native.machine import Machine, open_machine
from pdpanel.engine.native.packing import PackedWeights, alternate

MakePair = Callable[..., tuple[NativeLlama, Llama]]


def small_shape(**changes: object) -> ModelShape:
    values = {
        "architecture": "LlamaForCausalLM",
        "layers": 2,
        "hidden": 64,
        "heads": 6,
        "kv_heads": 2,
        "head_dim": 32,
        "ffn": 96,
        "vocab": 300,
        "rope_theta": 10000.0,
        "rope_scaling": None,
        "rms_eps": 1e-5,
        "tie_embeddings": False,
        "context_length": 512,
        "qkv_bias": False,
        "eos_ids": (),
        "bos_id": None,
    }
    return ModelShape(**{**values, **changes})  # type: ignore[arg-type]


def without_dots(machine: Machine) -> Machine:
    """Returns a processor that cannot multiply bytes, and is the same otherwise."""
    return replace(machine, features=machine.features - {"avx512vnni", "avxvnni"})


@pytest.fixture(scope="session")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the session's compiled kernels are."""
    return tmp_path_factory.mktemp("kernels")


@pytest.fixture(scope="session")
def make_pair(kernels: Path) -> MakePair:
    """Returns (native model, torch model of the same weights) for a shape; without `dots` all is float32."""

    def make(
        shape: ModelShape,
        layout: Format = FORMATS["int4-g32"],
        *,
        kv: str = "float32",
        threads: int = 1,
        dots: bool = True,
    ) -> tuple[NativeLlama, Llama]:
        random = np.random.default_rng(7)
        matrices, formats = {}, {}

        def matrix(name: str, rows: int, inputs: int) -> torch.Tensor:
            weight = random.normal(0, 0.2, (rows, inputs)).astype(np.float32)
            weight = unpack(pack(weight, layout), layout, rows)
            packed = alternate(weight) if name.endswith("gate_up") else weight
            matrices[name], formats[name] = pack(packed, layout), layout
            return torch.from_numpy(weight)

        def vector(size: int) -> torch.Tensor:
            return torch.from_numpy(random.normal(1, 0.2, size).astype(np.float32))

        def layer(prefix: str) -> LayerWeights:
            width = shape.q_rows + 2 * shape.kv_rows
            return LayerWeights(
                attn_norm=vector(shape.hidden),
                qkv=matrix(prefix + "qkv", width, shape.hidden),
                qkv_bias=vector(width) if shape.qkv_bias else None,
                q_norm=vector(shape.head_dim) if shape.qk_norm else None,
                k_norm=vector(shape.head_dim) if shape.qk_norm else None,
                o=matrix(prefix + "o", shape.hidden, shape.q_rows),
                ffn_norm=vector(shape.hidden),
                gate_up=matrix(prefix + "gate_up", 2 * shape.ffn, shape.hidden),
                down=matrix(prefix + "down", shape.hidden, shape.ffn),
            )

        embedding = torch.from_numpy(random.normal(0, 1, (shape.vocab, shape.hidden)).astype(np.float32))
        layers = tuple(layer(f"layers.{index}.") for index in range(shape.layers))
        weights = Weights(embedding, layers, vector(shape.hidden), matrix("lm_head", shape.vocab, shape.hidden))
        machine = open_machine() if dots else without_dots(open_machine())
        library = open_library(machine, heads_of(shape), kv, kernels)
        packed = PackedWeights(matrices, formats)
        native = NativeLlama(shape, weights, packed, library, context_length=512, threads=threads)
        return native, Llama(shape, weights, 512)

    return make
