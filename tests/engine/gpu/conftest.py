"""Triton's kernels on a GPU where there is one, else in Triton's interpreter on the CPU."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest
import torch

# Triton reads it once, when it is imported. A driver's device file is what a GPU cannot be used without.
if not any(Path(path).exists() for path in ("/dev/nvidiactl", "/dev/kfd")):
    os.environ["TRITON_INTERPRET"] = "1"


@pytest.fixture(scope="session")
def kernel_device() -> torch.device:
    """Where the kernels run."""
    if importlib.util.find_spec("triton") is None:
        pytest.skip("needs the package triton: pip install triton")
    if torch.cuda.is_available():
        return torch.device("cuda")
    os.environ["TRITON_INTERPRET"] = "1"  # a test before this one may have put the environment back
    from pdpanel.engine.gpu.decode_kernels import is_interpreted

    if not is_interpreted():
        pytest.skip("needs a GPU, or triton to be imported after TRITON_INTERPRET=1 was set")
    return torch.device("cpu")
