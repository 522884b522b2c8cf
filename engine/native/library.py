"""The kernels of one model, compiled for this host.

Object code is kept in the cache, since compiling takes seconds: linear layers once for a host, attention once for each
shape of heads.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path

import llvmlite
import llvmlite.ir as ir

from .attention import write_several, write_single, write_turn
from .dots import write_dots
from .drive import write_drive
from .elements import ELEMENTS
from .formats import FORMATS
from .linear import write_blocks, write_linear
from .machine import Machine, Program
from .rows import Heads, write_gather, write_norm, write_rope

__all__ = ["Library", "open_library"]


class Library:
    """Kernels by name: `norm`, `gather`, `rope`, `attend_single`, `attend_several`, `turn`, `drive`, `linear_...`.

    Attributes:
        machine: what they were compiled for. With `dot_lanes` there are `norm_single` and `dots_...` too, and
            `attend_single` writes what these read.
    """

    def __init__(self, machine: Machine, *programs: Program) -> None:
        self.machine = machine
        self._programs = programs

    @property
    def has_dots(self) -> bool:
        """Whether there are kernels that multiply bytes."""
        return self.machine.dot_lanes > 0

    def address(self, name: str) -> int:
        """Returns where a kernel stands."""
        found = next((address for program in self._programs if (address := program.address(name))), 0)
        assert found, name
        return found


def open_library(machine: Machine, heads: Heads, kv_dtype: str, cache_dir: Path) -> Library:
    """Returns the kernels for a model.

    Args:
        kv_dtype: torch's name of the KV memory's type.
        cache_dir: where object code is kept; what cannot be written is compiled again next time.
    """
    own, levels = (*astuple(heads), kv_dtype), machine.dot_lanes > 0
    return Library(
        machine,
        _open(machine, "linear", (), cache_dir, lambda module: _write_linear_layers(module, machine.dot_lanes)),
        _open(
            machine, "heads", own, cache_dir, lambda module: _write_attention(module, heads, kv_dtype, levels=levels)
        ),
    )


def _open(
    machine: Machine, name: str, words: tuple[object, ...], cache_dir: Path, write: Callable[[ir.Module], None]
) -> Program:
    path = cache_dir / "kernels" / f"{name}-{_key(machine, words)}.o"
    try:
        cached = path.read_bytes()
    except OSError:
        cached = b""
    module = ir.Module()
    module.triple = machine.triple
    if not cached:
        write(module)
    program = Program(module, machine, cached)
    if not cached:
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_suffix(f".tmp-{os.getpid()}")
            temporary.write_bytes(program.object_code)
            temporary.replace(path)
    return program


def _write_linear_layers(module: ir.Module, dot_lanes: int) -> None:
    blocks = write_blocks(module)
    for layout in FORMATS.values():
        write_linear(module, layout, blocks)
        if dot_lanes:
            write_dots(module, layout, dot_lanes)
    write_norm(module, levels=False)
    if dot_lanes:
        write_norm(module, levels=True)
    write_gather(module)
    write_drive(module)


def _write_attention(module: ir.Module, heads: Heads, kv_dtype: str, *, levels: bool) -> None:
    element = ELEMENTS[kv_dtype]
    write_rope(module, heads, element)
    write_single(module, heads, element, levels=levels)
    write_turn(module, heads, element)
    write_several(module, heads, write_blocks(module))


def _key(machine: Machine, words: tuple[object, ...]) -> str:
    """Returns what the object code depends on, the text of these files among it."""
    found = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        found.update(file.read_bytes())
    about = (llvmlite.__version__, machine.triple, machine.name, *sorted(machine.features), *words)
    found.update(repr(about).encode())
    return found.hexdigest()[:32]
