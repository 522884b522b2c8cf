"""How many bits a weight takes in each format, scales included, and which format a config.json declares.

The scales follow the formats' usual block sizes; a checkpoint with others differs by a few per cent of that part.
Called by the readers of a model's shape and by the memory figures. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ...engine.errors import ConfigError

__all__ = ["PRECISIONS", "Precision", "dtype_bytes", "precision_named", "precision_of_config"]


@dataclass(frozen=True, slots=True)
class Precision:
    """A format of weights.

    Attributes:
        bits: of one weight, its share of the scales included.
        made_of: where the bits come from.
        computes_in: the format that matrix products run in: `fp32`, `bf16`, `fp8` or `fp4`.
        experts_only: True when only the experts of a mixture are stored so.
        dense: True for formats in which every parameter is stored alike; otherwise embeddings, the output
            head, routers and norms stay in the model's dtype.
    """

    name: str
    bits: float
    made_of: str
    computes_in: str
    experts_only: bool = False
    dense: bool = False


_ALL = (
    Precision("fp32", 32, "32 bits", "fp32", dense=True),
    Precision("bf16", 16, "16 bits", "bf16", dense=True),
    Precision("fp16", 16, "16 bits", "bf16", dense=True),
    Precision("fp8", 8 + 32 / 16384, "8 bits and a 32-bit scale for 128 x 128 weights", "fp8"),
    Precision("int8", 8 + 16 / 4096, "8 bits and a 16-bit scale for a row of about 4096 weights", "int8"),
    Precision("int4", 4 + 20 / 128, "4 bits, and a 16-bit scale and a 4-bit zero for 128 weights", "bf16"),
    Precision("fp4", 4 + 8 / 16, "4 bits and an 8-bit scale for 16 weights (NVFP4)", "fp4"),
    Precision("mxfp4", 4 + 8 / 32, "4 bits and an 8-bit scale for 32 weights (MXFP4)", "fp4", experts_only=True),
)
PRECISIONS = MappingProxyType({precision.name: precision for precision in _ALL})
_SPELLINGS = MappingProxyType(
    {
        "float32": "fp32",
        "bfloat16": "bf16",
        "float16": "fp16",
        "half": "fp16",
        "float": "fp32",
        "gptq": "int4",
        "awq": "int4",
        "w4a16": "int4",
        "w8a8": "int8",
        "nvfp4": "fp4",
        "float8_e4m3fn": "fp8",
        "fp8_e4m3": "fp8",
        "fp8_e5m2": "fp8",
    }
)
_DTYPE_BYTES = MappingProxyType({"fp32": 4, "bf16": 2, "fp16": 2, "fp8": 1, "int8": 1})
_FIELD = "quantization_config"


def precision_named(name: str, field: str = "--quantization") -> Precision:
    """Returns the format with this name, in one of its usual spellings.

    Raises:
        ConfigError: there is none.
    """
    key = name.strip().lower().removeprefix("torch.")
    found = PRECISIONS.get(_SPELLINGS.get(key, key))
    if found is None:
        raise ConfigError(field, name, "is not a known format of weights", f"use one of {', '.join(PRECISIONS)}")
    return found


def dtype_bytes(name: str, field: str = "dtype") -> int:
    """Returns the bytes of one element of a dtype.

    Raises:
        ConfigError: it has no whole number of bytes, or is unknown.
    """
    key = name.strip().lower().removeprefix("torch.")
    size = _DTYPE_BYTES.get(_SPELLINGS.get(key, key))
    if size is None:
        raise ConfigError(field, name, "is not a known dtype", f"use one of {', '.join(_DTYPE_BYTES)}")
    return size


def precision_of_config(quantisation: object, dtype: str) -> Precision:
    """Returns the format that a config.json's `quantization_config` declares; `dtype` without one.

    Raises:
        ConfigError: the method is not known.
    """
    if quantisation is None or quantisation == {}:
        return precision_named(dtype, "torch_dtype")
    if not isinstance(quantisation, Mapping):
        raise ConfigError(_FIELD, quantisation, "is no object", "give the model's own config.json")
    method = str(quantisation.get("quant_method") or "").lower()
    algorithm = str(quantisation.get("quant_algo") or "").lower()
    if algorithm == "mixed_precision":
        problem = "mixes several formats"
        raise ConfigError(_FIELD, algorithm, problem, "name the format of most weights with --quantization")
    for name in (algorithm, method):
        if name in {"fp8", "nvfp4", "mxfp4", "awq"} and not quantisation.get("bits"):
            return precision_named(name)
    bits = quantisation.get("bits") or _bits_of_groups(quantisation)
    if bits == 4:
        stored = str(quantisation.get("format")) + str(quantisation.get("config_groups"))
        if _is_float(quantisation):
            return PRECISIONS["mxfp4" if "mxfp4" in stored else "fp4"]
        return PRECISIONS["int4"]
    if bits == 8:
        return PRECISIONS["fp8" if _is_float(quantisation) else "int8"]
    if quantisation.get("load_in_4bit"):
        return PRECISIONS["int4"]
    if quantisation.get("load_in_8bit"):
        return PRECISIONS["int8"]
    problem = "is not a known way of quantising"
    raise ConfigError(_FIELD, method or algorithm, problem, "name the format of the weights with --quantization")


def _groups(quantisation: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    groups = quantisation.get("config_groups")
    found = groups.values() if isinstance(groups, Mapping) else ()
    weights = [group.get("weights") for group in found if isinstance(group, Mapping)]
    return [weight for weight in weights if isinstance(weight, Mapping)]


def _bits_of_groups(quantisation: Mapping[str, Any]) -> object:
    widths = {weights.get("num_bits") for weights in _groups(quantisation)}
    return widths.pop() if len(widths) == 1 else None


def _is_float(quantisation: Mapping[str, Any]) -> bool:
    return any(weights.get("type") == "float" for weights in _groups(quantisation))
