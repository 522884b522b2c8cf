"""Formats of weights: by name, and as config.json files declare them."""

from __future__ import annotations

from typing import Any

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.sizing.precision import dtype_bytes, precision_named, precision_of_config


def compressed(bits: int, kind: str, form: str = "") -> dict[str, Any]:
    groups = {"group_0": {"weights": {"num_bits": bits, "type": kind}}}
    return {"quant_method": "compressed-tensors", "format": form, "config_groups": groups}


@pytest.mark.parametrize(
    ("declared", "name"),
    [
        (None, "bf16"),
        ({}, "bf16"),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 128}, "int4"),
        ({"quant_method": "gptq", "bits": 8}, "int8"),
        ({"quant_method": "awq", "bits": 4}, "int4"),
        ({"quant_method": "mxfp4"}, "mxfp4"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "fp4"),
        ({"quant_algo": "FP8"}, "fp8"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "int4"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "int8"),
        (compressed(8, "int"), "int8"),
        (compressed(8, "float"), "fp8"),
        (compressed(4, "int"), "int4"),
        (
            compressed(4, "float", "mxfp4-pack-quantized"),
            "mxfp4",
        ),
        (
            compressed(4, "float", "nvfp4-pack-quantized"),
            "fp4",
        ),
    ],
)  # fmt: skip
def test_the_declared_format_is_read(declared: Any, name: str) -> None:
    assert precision_of_config(declared, "bfloat16").name == name


def test_the_dtype_decides_without_a_declaration() -> None:
    assert precision_of_config(None, "torch.float32").name == "fp32"
    assert [dtype_bytes(name) for name in ("float32", "torch.bfloat16", "fp8_e4m3")] == [4, 2, 1]


@pytest.mark.parametrize("name", ["", "int3", "bf17", "--help"])
def test_unknown_formats_are_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(ConfigError, match="use one of fp32"):
        precision_named(name)
    with pytest.raises(ConfigError, match="use one of fp32"):
        dtype_bytes(name)


def test_scales_are_part_of_the_bits() -> None:
    assert 8 < precision_named("fp8").bits < 8.01
    assert precision_named("awq").bits == 4 + 20 / 128
    assert precision_named("nvfp4").bits == 4.5
