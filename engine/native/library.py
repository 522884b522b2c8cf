"""The kernels of one model, compiled for this host; their object code is kept in the cache, since compiling takes seconds."""

from __future__ import annotations

import contextlib
import hashlib
import os
from dataclasses import astuple
from pathlib import Path

import llvmlite
import llvmlite.ir as ir

from .attention import write_several, write_single, write_turn
from .drive import write_drive
from .elements import ELEMENTS
from .formats import INT4, INT8
from .linear import Epilogue, write_blocks, write_linear
from .machine import Machine, Program
from .rows import Heads, write_norm, write_rope

__all__ = ["open_library"]


def open_library(machine: Machine, heads: Heads, kv_dtype: str, cache_dir: Path) -> Program:
    """Returns the kernels `norm`, `rope`, `attend_single`, `attend_several`, `turn`, `drive` and `linear_FORMAT_EPILOGUE`.

    Args:
        kv_dtype: torch's name of the KV memory's type.
        cache_dir: where object code is kept; what cannot be written is compiled again next time.
    """
    path = cache_dir / "kernels" / f"{_key(machine, heads, kv_dtype)}.o"
    try:
        cached = path.read_bytes()
    except OSError:
        cached = b""
    module = ir.Module()
    module.triple = machine.triple
    if not cached:
        _write(module, heads, kv_dtype)
    program = Program(module, machine, cached)
    if not cached:
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_suffix(f".tmp-{os.getpid()}")
            temporary.write_bytes(program.object_code)
            temporary.replace(path)
    return program


def _write(module: ir.Module, heads: Heads, kv_dtype: str) -> None:
    element = ELEMENTS[kv_dtype]
    blocks = {epilogue: write_blocks(module, epilogue) for epilogue in Epilogue}
    for layout in (INT4, INT8):
        for epilogue in Epilogue:
            write_linear(module, layout, epilogue, blocks[epilogue])
    write_norm(module)
    write_rope(module, heads, element)
    write_single(module, heads, element)
    write_turn(module, heads, element)
    write_several(module, heads, blocks[Epilogue.STORE])
    write_drive(module)


def _key(machine: Machine, heads: Heads, kv_dtype: str) -> str:
    """Returns what the object code depends on, the text of these files among it."""
    found = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        found.update(file.read_bytes())
    words = (llvmlite.__version__, machine.triple, machine.name, *sorted(machine.features), *astuple(heads), kv_dtype)
    found.update(repr(words).encode())
    return found.hexdigest()[:32]
