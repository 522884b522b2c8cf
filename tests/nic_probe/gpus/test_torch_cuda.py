"""Torch as the last resort, from a fake torch at the library's boundary (fakes/torch), in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pdpanel.nic_probe.gpus.child as child
import pytest
from pdpanel.nic_probe.gpus.child import needs_torch

READ = f"""
import json
from {child.__package__}.torch_cuda import read_torch
print(json.dumps(list(read_torch())))
"""


def read_torch(**environ: str) -> list[dict[str, Any]]:
    environ = {"PYTHONPATH": str(Path(__file__).parent / "fakes" / "torch"), **environ}
    return json.loads(subprocess.run([sys.executable, "-c", READ], env=environ, check=True, capture_output=True).stdout)


def test_what_torch_knows() -> None:
    head, piece = read_torch()
    assert head == {"count": {"value": 1}, "runtime_version": {"value": "12.8"}}
    gpu = piece["gpu"]
    assert gpu["vendor"] == "NVIDIA"
    assert gpu["pci"] == {"value": "0000:ab:00.0"}
    assert gpu["uuid"] == {"value": "GPU-11111111-0000-0000-0000-000000000000"}
    assert (gpu["architecture"], gpu["memory_total_bytes"]) == ({"value": "9.0"}, {"value": 80 << 30})


def test_the_build_for_rocm() -> None:
    head, piece = read_torch(FAKE_TORCH="rocm")
    assert head["runtime_version"] == {"value": "7.0.2"}
    assert (piece["gpu"]["vendor"], piece["gpu"]["architecture"]) == ("AMD", {"value": "gfx942"})


def test_hidden_gpus_are_asked_as_well() -> None:
    assert len(read_torch(CUDA_VISIBLE_DEVICES="")) == 2


@pytest.mark.parametrize(
    ("described", "devices", "needed"),
    [
        (False, ["null", "nvidia0", "nvidiactl"], True),
        (False, ["kfd"], True),
        (False, ["null", "dri", "fuse"], False),
        (True, ["nvidia0"], False),
    ],
)
def test_torch_is_asked_when_a_device_node_has_nobody_to_describe_it(
    described: bool, devices: list[str], needed: bool
) -> None:
    assert needs_torch({"NVML": {"gpus": [{}] if described else []}, "AMD SMI": {"gpus": []}}, devices) is needed
