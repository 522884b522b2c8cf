"""A LLaVA checkpoint as two: the text model under the names it would have alone, and the vision part in files of ours.

The text model is converted like any other; the vision part is written beside it, as `vision.json` and
`vision.safetensors` in float32. Names are those that transformers 4 and 5 save. Uses numpy, never torch. Called by
`engine.model.huggingface` while converting, and by whoever opens a converted directory.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from ..model.source import row_blocks
from ..model.tensorfile import StoredTensor, file_header, write_tensors
from .shape import VisionShape, vision_shape_from_json

__all__ = ["VISION_TENSORS_FILE", "has_vision_part", "open_vision", "split_names", "vision_layout", "write_vision"]

VISION_TENSORS_FILE = "vision.safetensors"
_SHAPE_FILE = "vision.json"
_FORMAT = 1
_NUMPY_TYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_T = TypeVar("_T")

Place = tuple[Path, StoredTensor]
"""A file and where in it a tensor lies."""

_TEXT = (
    (re.compile(r"^model\.language_model\.(?!model\.)"), "model."),
    (re.compile(r"^(?:model\.)?language_model\.model\."), "model."),
    (re.compile(r"^language_model\.lm_head\."), "lm_head."),
    (re.compile(r"^language_model\."), "model."),
)
_VISION = (
    (re.compile(r"^(?:model\.)?vision_tower\.(?:vision_model\.)?"), "tower."),
    (re.compile(r"^(?:model\.)?multi_modal_projector\."), "projector."),
)


def split_names(stored: Mapping[str, _T]) -> tuple[dict[str, _T], dict[str, _T]]:
    """Returns the tensors of the text model by the names they have there, and those of the vision part by ours."""
    text: dict[str, _T] = {}
    vision: dict[str, _T] = {}
    for name, value in stored.items():
        for pattern, prefix in _VISION:
            if pattern.match(name):
                vision[pattern.sub(prefix, name)] = value
                break
        else:
            for pattern, prefix in _TEXT:
                if pattern.match(name):
                    name = pattern.sub(prefix, name)
                    break
            text[name] = value
    return text, vision


def vision_layout(shape: VisionShape) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yields name and shape of each tensor of the vision part that is computed with, in the order of the file."""
    hidden, ffn, is_clip = shape.hidden, shape.ffn, shape.tower == "clip"
    start = "tower.embeddings."
    if is_clip:
        yield start + "class_embedding", (hidden,)
    yield start + "patch_embedding.weight", (hidden, 3, shape.patch_size, shape.patch_size)
    if not is_clip:
        yield start + "patch_embedding.bias", (hidden,)
    yield start + "position_embedding.weight", (shape.positions, hidden)
    if is_clip:
        yield from _norm("tower.pre_layrnorm", hidden)  # spelled so
    for layer in range(shape.layers):
        name = f"tower.encoder.layers.{layer}."
        yield from _norm(name + "layer_norm1", hidden)
        for projection in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield from _linear(f"{name}self_attn.{projection}", hidden, hidden)
        yield from _norm(name + "layer_norm2", hidden)
        yield from _linear(name + "mlp.fc1", ffn, hidden)
        yield from _linear(name + "mlp.fc2", hidden, ffn)
    width = hidden * len(shape.states)
    yield from _linear("projector.linear_1", shape.text_hidden, width, bias=shape.projector_bias)
    yield from _linear("projector.linear_2", shape.text_hidden, shape.text_hidden, bias=shape.projector_bias)


def _norm(name: str, width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)


def _linear(name: str, rows: int, columns: int, *, bias: bool = True) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (rows, columns)
    if bias:
        yield f"{name}.bias", (rows,)


def write_vision(directory: Path, shape: VisionShape, stored: Mapping[str, Place], source: str) -> None:
    """Writes the vision part into a directory that is being converted.

    Args:
        stored: where each tensor lies, by our names.
        source: the model as the user named it, for errors.

    Raises:
        ConfigError: a tensor is missing, misshaped or of a type that is not served.
        OSError: the disk is full or cannot be written.
    """
    layout = tuple(vision_layout(shape))
    for name, size in layout:
        _check(name, size, stored.get(name), source)
    header, length = file_header(layout)
    with (directory / VISION_TENSORS_FILE).open("wb") as file:
        blocks = (rows.data for name, _ in layout for rows in _rows(*stored[name]))
        for _ in write_tensors(file, header, length, blocks):
            pass
    entry = {"format": _FORMAT, "shape": shape.as_json(), "bytes": len(header) + length}
    (directory / _SHAPE_FILE).write_text(json.dumps(entry, indent=2) + "\n", encoding="utf-8")


def _check(name: str, size: tuple[int, ...], place: Place | None, source: str) -> None:
    if place is not None and place[1].shape == size and place[1].dtype in _NUMPY_TYPES:
        return
    found = "is missing" if place is None else f"is {place[1].dtype} {list(place[1].shape)} instead of {list(size)}"
    remedy = "download the model again or use another one"
    raise ConfigError("--model-path", source, f"tensor {name} of the vision part {found}", remedy)


def _rows(path: Path, tensor: StoredTensor) -> Iterator[NDArray[np.float32]]:
    stored = np.memmap(path, dtype=_NUMPY_TYPES[tensor.dtype], mode="r", offset=tensor.start, shape=tensor.shape)
    for block in row_blocks(tensor.shape):
        rows = stored[block]
        yield (rows.astype(np.uint32) << 16).view(np.float32) if tensor.dtype == "BF16" else rows.astype(np.float32)


def has_vision_part(directory: Path) -> bool:
    """Returns whether a converted directory is that of a model of text and images."""
    return (directory / _SHAPE_FILE).is_file()


def open_vision(directory: Path) -> VisionShape | None:
    """Returns the vision part of a converted directory, None for a model that takes text alone.

    Raises:
        ConfigError: it is damaged.
    """
    path = directory / _SHAPE_FILE
    if not path.is_file():
        return None
    try:
        entry: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        shape = vision_shape_from_json(entry["shape"])
        whole = (directory / VISION_TENSORS_FILE).stat().st_size == entry["bytes"] and entry["format"] == _FORMAT
    except (OSError, ValueError, KeyError, TypeError):
        whole, shape = False, None
    if not whole:
        problem = "the vision part of this converted model is damaged"
        raise ConfigError("--model-path", str(directory), problem, "delete this directory and start again")
    return shape
