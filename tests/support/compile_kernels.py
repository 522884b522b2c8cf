"""Compiles the decode kernels for a GPU that is not there, and prints the machine's instructions that it finds.

A program of its own, since Triton either compiles or interprets in one process: BACKEND ARCH WARP TYPE DIM GROUP.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any


def main(backend: str, arch: str, warp: str, dtype: str, dim_text: str, group_text: str) -> None:
    """Prints the kernels' assembler as a JSON list."""
    compiler: Any = importlib.import_module("triton.compiler")
    targets: Any = importlib.import_module("triton.backends.compiler")
    kernels: Any = importlib.import_module("pdpanel.engine.gpu.decode_kernels")
    dim, group = int(dim_text), int(group_text)
    target = targets.GPUTarget(backend, int(arch) if arch.isdigit() else arch, int(warp))
    sizes = {"HEADS": group * 2, "DIM": dim, "COLUMNS": 1 << (dim - 1).bit_length(), "BLOCK": 64}
    sizes |= {"SHARES": 16, "SHORTEST": 256}
    more = {"GROUP": group, "ROWS": 16, "PAGE": 16, "WIDEN": False}
    pointers = {"q": f"*{dtype}", "k": f"*{dtype}", "v": f"*{dtype}", "table": "*i32", "lengths": "*i32"}
    shares = {"sums": "*fp32", "masses": "*fp32"}
    numbers = {"scale": "fp32", "table_row": "i32", "head_step": "i32"}
    attend = {**pointers, **shares, **numbers, **dict.fromkeys([*sizes, *more], "constexpr")}
    join = {**shares, "lengths": "*i32", "out": f"*{dtype}", **dict.fromkeys(sizes, "constexpr")}
    found: list[str] = []
    for kernel, signature, constants in (
        (kernels.attend_share, attend, sizes | more),
        (kernels.join_shares, join, sizes),
    ):
        made = compiler.compile(compiler.ASTSource(kernel, signature, constants), target=target)
        found.append(made.asm["ptx" if backend == "cuda" else "amdgcn"])
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
