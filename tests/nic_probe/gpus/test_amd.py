"""AMD SMI through the real child process, from a fake package amdsmi at the library's boundary (fakes/amd)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .conftest import Ask


def environ(mode: str = "") -> dict[str, str]:
    return {"PATH": "/nonexistent", "PYTHONPATH": str(Path(__file__).parent / "fakes" / "amd"), "FAKE_AMDSMI": mode}


def values(gpu: dict[str, Any], *names: str) -> tuple[Any, ...]:
    return tuple(gpu[name].get("value", gpu[name].get("reason")) for name in names)


def test_two_gpus(ask: Ask) -> None:
    answer: dict[str, Any] = ask(environ())["AMD SMI"]
    assert (answer["driver_version"], answer["runtime_version"]) == ({"value": "6.14.14"}, {"value": "7.0.2"})
    first, second = answer["gpus"]
    assert values(first, "index", "pci", "name", "architecture") == (0, "0000:05:00.0", "AMD Instinct MI300X", "gfx942")
    assert values(first, "memory_total_bytes", "memory_used_bytes") == (196592 << 20, 283 << 20)
    assert values(first, "uuid", "runtime_uuid", "runtime_index") == (
        "0cff74a1-0000-1000-80ec-3bb6d5bb5d7e",
        "GPU-0ff74a1ec3bb6d5b",
        1,
    )
    assert values(second, "pci", "runtime_index") == ("0000:75:00.0", 0)


def test_units_and_ways_to_ask(ask: Ask) -> None:
    first, second = ask(environ())["AMD SMI"]["gpus"]
    assert values(first, "power_w", "power_limit_w", "power_limit_default_w") == (140.0, 700.0, 750.0)
    assert values(second, "power_w") == (150.0,)
    assert values(first, "pcie_speed_gts", "pcie_width", "pcie_max_speed_gts", "pcie_max_width") == (16.0, 8, 32.0, 16)
    assert values(first, "temperature_c") == (55,)
    assert values(second, "temperature_c") == (33,)


def test_health_and_processes(ask: Ask) -> None:
    first, second = ask(environ())["AMD SMI"]["gpus"]
    assert values(first, "ecc_enabled", "ecc_uncorrected", "memory_retired_pending") == (True, 1, False)
    assert values(second, "memory_retired_pending", "busy_percent") == (True, "reads N/A")
    assert values(first, "nvlinks_active", "nvlinks_inactive") == (2, 1)
    assert first["processes"]["value"] == [
        {"pid": 4321, "name": {"value": "python3"}, "memory_bytes": {"value": 3 << 30}}
    ]
    assert second["processes"]["value"][0]["name"] == {"reason": "is hidden"}


def test_what_a_release_lacks_hides_nothing_else(ask: Ask) -> None:
    first, _ = ask(environ("old"))["AMD SMI"]["gpus"]
    assert "reason" in first["runtime_index"]
    assert values(first, "name") == ("AMD Instinct MI300X",)


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("no-library", "cannot be asked: the package amdsmi does not import (KeyError: 'libamd_smi.so')"),
        ("no-driver", "cannot be asked: feature not supported"),
    ],
)
def test_no_driver_is_a_reason(ask: Ask, mode: str, reason: str) -> None:
    answer = ask(environ(mode))["AMD SMI"]
    assert (answer["reason"], answer["gpus"]) == (reason, [])


def test_nvml_is_asked_as_well(ask: Ask) -> None:
    answer = ask(environ())["NVML"]
    assert answer["reason"] or answer["gpus"]
