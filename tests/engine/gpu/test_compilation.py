"""The decode kernels as code for NVIDIA's and AMD's GPUs, which need not be there for that."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[2] / "support" / "compile_kernels.py"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "product"), [(("cuda", "90", "32"), "mma"), (("hip", "gfx942", "64"), "mfma")], ids=["H200", "MI300X"]
)
@pytest.mark.parametrize("shape", [("bf16", "128", "2"), ("fp16", "64", "3")], ids=["qwen3", "smollm2"])
def test_products_run_on_the_units_for_matrices(
    target: tuple[str, ...], product: str, shape: tuple[str, ...], tmp_path: Path
) -> None:
    if importlib.util.find_spec("triton") is None:
        pytest.skip("needs the package triton: pip install triton")
    environ = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-W", "ignore", str(PROGRAM), *target, *shape]
    made = subprocess.run(
        command, env=environ | {"TRITON_CACHE_DIR": str(tmp_path)}, capture_output=True, text=True, timeout=100
    )
    assert made.returncode == 0, made.stderr[-2000:]
    attend, join = json.loads(made.stdout.splitlines()[-1])
    assert product in attend and product not in join
