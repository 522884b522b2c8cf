"""A model's weights in the kernels' formats: chosen, packed once, kept beside the converted model, mapped by workers.

Packing runs in a process of its own, `python -m pdpanel.engine.native.packing`, since it needs memory that a worker
must not keep. What is there is complete: the file appears by rename, under a lock that workers of one host share.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ..errors import ConfigError
from ..model.progress import OnProgress, Progress, no_progress
from ..model.report import run_reporting
from ..model.shape import ModelShape, shape_from_json
from .code import LANES
from .formats import FORMATS, GROUP, INT4, INT8, PANEL, Format, pack, unpack
from .memory import in_large_pages

__all__ = ["PackedWeights", "alternate", "load_packed", "why_not"]

_VERSION = 2
_CHUNK_PANELS = 64
# An int4 grid that is found again to within this share of its step is the one that the file was made with.
_SAME_GRID = 0.01

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class PackedWeights:
    """Packed matrices by name, such as `layers.0.qkv`, with the format of each.

    Attributes:
        matrices: bytes [panels, groups, group_bytes]; gate and up of `gate_up` alternate by 16 outputs.
    """

    matrices: dict[str, Bytes]
    formats: dict[str, Format]

    @property
    def size(self) -> int:
        """Bytes of all matrices, which a step for one token reads once."""
        return sum(matrix.nbytes for matrix in self.matrices.values())

    @property
    def name(self) -> str:
        """The formats of the layers, then of the head where it differs."""
        layers = sorted({layout.name for name, layout in self.formats.items() if name != "lm_head"})
        head = self.formats["lm_head"].name
        return "+".join(layers) + ("" if [head] == layers else f", head {head}")


def why_not(shape: ModelShape) -> str:
    """Returns why the kernels cannot compute a model of this shape; empty when they can."""
    if shape.experts is not None:
        return f"its layers have {shape.experts.count} experts each"
    for name, value, unit in (
        ("hidden size", shape.hidden, GROUP),
        ("feed-forward size", shape.ffn, GROUP),
        ("head size", shape.head_dim, 2 * LANES),
        ("query width", shape.q_rows, GROUP),
    ):
        if value % unit:
            return f"its {name} of {value} is no multiple of {unit}"
    return ""


def load_packed(directory: Path, quantization: str, on_progress: OnProgress = no_progress) -> PackedWeights:
    """Returns the packed weights of a converted directory, packing them first when they are not there.

    Args:
        quantization: `auto` (int4 where the weights lie on such a grid already, else int8), `int4` or `int8`.
        on_progress: told of the packing, stage `pack`, in bytes of the weights as they were.

    Raises:
        ConfigError: they cannot be packed, or the file is damaged.
    """
    path = directory / f"packed-{_VERSION}-{quantization}.safetensors"
    if not path.is_file():
        with (directory / ".packing").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.is_file():
                _pack_in_child(directory, quantization, on_progress)
    try:
        with safe_open(path, framework="pt") as file:  # numpy's would be copies, on the heap
            formats = {name: FORMATS[layout] for name, layout in json.loads(file.metadata()["formats"]).items()}
            matrices = {name: file.get_tensor(name).numpy() for name in formats}
            return PackedWeights(in_large_pages(matrices), formats)
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
        problem = f"{path.name} is damaged ({error})"
        raise ConfigError("--model-path", str(directory), problem, f"delete {path.name} and start again") from None


def _pack_in_child(directory: Path, quantization: str, on_progress: OnProgress) -> None:
    command = [sys.executable, "-P", "-m", "pdpanel.engine.native.packing", str(directory), quantization]
    nothing, pipe = subprocess.DEVNULL, subprocess.PIPE
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors,
        subprocess.Popen(command, stdin=nothing, stdout=pipe, stderr=errors, text=True, encoding="utf-8") as child,
    ):
        assert child.stdout is not None
        for line in child.stdout:
            said = json.loads(line)
            if "stage" in said:
                on_progress(Progress(said["stage"], said["done"], said["total"]))
        code = child.wait()
        errors.seek(0)
        said = errors.read()
    if code:
        last = (said.strip().splitlines() or ["no reason"])[-1]
        problem = f"its weights cannot be packed as {quantization} ({last})"
        raise ConfigError("--quantization", quantization, problem, "free some memory and disk, or give none")


def alternate(gate_up: Floats) -> Floats:
    """Returns gate and up in turns of 16 outputs; both are filled up with zeros to whole turns."""
    ffn = len(gate_up) // 2
    turns = -(-ffn // LANES)
    halves = np.zeros((2, turns * LANES, gate_up.shape[1]), dtype=np.float32)
    halves[:, :ffn] = gate_up.reshape(2, ffn, -1)
    return np.ascontiguousarray(halves.reshape(2, turns, LANES, -1).swapaxes(0, 1)).reshape(2 * turns * LANES, -1)


def _chunks(weight: Floats) -> Iterator[Floats]:
    for start in range(0, len(weight), _CHUNK_PANELS * PANEL):
        yield weight[start : start + _CHUNK_PANELS * PANEL]


def _is_int4(weight: Floats) -> bool:
    """Returns whether the weights lie on an int4 grid of groups of 32 already, as those of a Q4_1 file do."""
    for chunk in _chunks(weight):
        groups = chunk.reshape(len(chunk), -1, GROUP)
        step = (groups.max(axis=2) - groups.min(axis=2)) / 15
        error = np.abs(unpack(pack(chunk, INT4), INT4, len(chunk)) - chunk).reshape(groups.shape).max(axis=2)
        if (error > _SAME_GRID * step + 1e-7).any():
            return False
    return True


def _layout(name: str, weight: Floats, quantization: str) -> Format:
    # The head decides between near words: it keeps eight bits unless its file had fewer.
    wanted = quantization if name != "lm_head" or quantization == "int8" else "auto"
    if wanted == "auto":
        return INT4 if _is_int4(weight) else INT8
    return INT4 if wanted == "int4" else INT8


def _matrix_names(shape: ModelShape) -> Iterator[str]:
    for index in range(shape.layers):
        for part in ("qkv", "o", "gate_up", "down"):
            yield f"layers.{index}.{part}"
    yield "lm_head"


def _pack(directory: Path, quantization: str, on_progress: OnProgress) -> None:
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    shape = shape_from_json(config["shape"])
    packed: dict[str, Bytes] = {}
    formats: dict[str, str] = {}
    source = directory / "weights.safetensors"
    size, done = source.stat().st_size, 0
    with safe_open(source, framework="np") as file:
        for name in _matrix_names(shape):
            stored = "embedding" if name == "lm_head" and shape.tie_embeddings else name
            weight = file.get_tensor(stored).astype(np.float32, copy=False)
            if name.endswith("gate_up"):
                weight = alternate(weight)
            layout = _layout(name, weight, quantization)
            packed[name] = np.concatenate([pack(chunk, layout) for chunk in _chunks(weight)])
            formats[name] = layout.name
            done += weight.nbytes
            on_progress(Progress("pack", done, max(size, done)))
    target = directory / f"packed-{_VERSION}-{quantization}.safetensors"
    temporary = target.with_suffix(f".tmp-{os.getpid()}")
    try:
        save_file(packed, temporary, metadata={"formats": json.dumps(formats)})
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _main(directory: Path, quantization: str) -> int:
    def action(on_progress: OnProgress) -> Mapping[str, object]:
        _pack(directory, quantization, on_progress)
        return {}

    return run_reporting(action)


if __name__ == "__main__":
    sys.exit(_main(Path(sys.argv[1]), sys.argv[2]))
