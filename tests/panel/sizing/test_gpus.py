"""The table of devices: names that drivers report, and formats that a device lacks."""

from __future__ import annotations

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.sizing.gpus import GPUS, Gpu, gpu_named


@pytest.mark.parametrize(
    ("reported", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H100 PCIe", "h100 pcie"),
        ("NVIDIA H200", "h200"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA A100-SXM4-40GB", "a100 40gb"),
        ("NVIDIA L40S", "l40s"),
        ("NVIDIA B200", "b200"),
        ("NVIDIA GB200", "gb200"),
        ("AMD Instinct MI300X OAM", "mi300x"),
        ("h100", "h100"),
    ],
)
def test_reported_names_are_known(reported: str, name: str) -> None:
    assert gpu_named(reported).name == name


@pytest.mark.parametrize("name", ["", "H1000", "GeForce", "\x1b[31m"])
def test_an_unknown_device_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(ConfigError, match="mi300x"):
        gpu_named(name)


def test_a_format_that_a_device_lacks_runs_in_a_wider_one() -> None:
    assert GPUS["a100"].peak("fp8") == ("bf16", 312e12)
    assert GPUS["h100"].peak("fp4") == ("fp8", 1978e12)
    assert GPUS["b200"].peak("fp4") == ("fp4", 9000e12)
    assert Gpu("own", 1, 1, {"bf16": 1e12}, 1, 0, 8, "as given").peak("fp32") == ("bf16", 1e12)


def test_a_device_without_a_peak_is_refused() -> None:
    with pytest.raises(ConfigError, match="peaks"):
        Gpu("own", 1, 1, {}, 1, 0, 8, "as given")


def test_each_device_has_its_source() -> None:
    assert all(gpu.source and 0.1e12 < gpu.memory_speed < 20e12 and gpu.nic_gbps for gpu in GPUS.values())
