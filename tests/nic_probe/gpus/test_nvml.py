"""NVML through the real pynvml and the real child process, from a fake libnvidia-ml.so.1 (fake_nvml.c)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .conftest import Ask, FakeNvml


def gpus_of(libraries: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return libraries["NVML"]["gpus"]


def values(gpu: Mapping[str, dict[str, Any]], *names: str) -> tuple[Any, ...]:
    return tuple(gpu[name].get("value", gpu[name].get("reason")) for name in names)


def test_two_gpus_of_a_current_driver(fake_nvml: FakeNvml, ask: Ask) -> None:
    libraries = ask(fake_nvml())
    assert libraries["NVML"]["reason"] == ""
    assert libraries["NVML"]["driver_version"] == {"value": "570.86.15"}
    assert libraries["NVML"]["runtime_version"] == {"value": "12.8"}
    first, second = gpus_of(libraries)
    assert values(first, "index", "pci", "name") == (0, "0000:18:00.0", "NVIDIA H100 80GB HBM3")
    assert values(first, "uuid", "architecture") == ("GPU-11111111-0000-0000-0000-000000000000", "9.0")
    # What the driver keeps for itself (512 MiB) is not counted as used.
    assert values(first, "memory_total_bytes", "memory_used_bytes") == (80 << 30, 1 << 29)
    assert values(second, "index", "pci", "busy_percent", "temperature_c") == (1, "0000:ab:00.0", 40, 41)
    assert values(second, "power_w", "power_limit_w", "power_limit_default_w") == (123.456, 500.0, 700.0)
    assert values(second, "bar1_total_bytes", "persistence", "mig") == (128 << 30, True, False)


def test_the_health_of_a_gpu(fake_nvml: FakeNvml, ask: Ask) -> None:
    first, second = gpus_of(ask(fake_nvml()))
    names = ("ecc_enabled", "ecc_uncorrected", "memory_retired_pending", "compute_mode", "fabric")
    assert values(first, *names) == (True, 0, False, "Default", "completed")
    assert values(second, *names) == (True, 3, True, "ExclusiveProcess", "in progress")
    # A GPU that idles is not throttled.
    assert values(first, "throttle_reasons", "nvlinks_active", "nvlinks_inactive") == ([], 18, 0)
    assert values(second, "throttle_reasons") == (["SwPowerCap", "HwThermalSlowdown"],)
    assert values(second, "nvlinks_active", "nvlinks_inactive") == (17, 1)
    assert values(second, "pcie_speed_gts", "pcie_width", "pcie_max_speed_gts", "pcie_max_width") == (2.5, 8, 32.0, 16)


def test_processes_that_can_be_seen_have_names(fake_nvml: FakeNvml, ask: Ask) -> None:
    first, second = gpus_of(ask(fake_nvml()))
    assert values(first, "processes") == ([],)
    own, hidden = second["processes"]["value"]
    assert own["name"]["value"].startswith("python")
    assert own["memory_bytes"] == {"value": 1 << 30}
    assert hidden["pid"] == 4194305
    assert "another container" in hidden["name"]["reason"]
    assert hidden["memory_bytes"] == {"reason": "is not known"}


def test_what_an_old_driver_lacks_hides_nothing_else(fake_nvml: FakeNvml, ask: Ask) -> None:
    first, second = gpus_of(ask(fake_nvml(old=True)))
    lacking = ("ecc_enabled", "throttle_reasons", "fabric", "bar1_total_bytes", "pcie_width", "memory_retired_pending")
    assert values(first, *lacking) == ("function not found",) * 6
    assert values(first, "memory_used_bytes", "nvlinks_active", "name") == (1 << 30, 18, "NVIDIA H100 80GB HBM3")
    assert len(second["processes"]["value"]) == 2


def test_a_driver_that_is_not_loaded(fake_nvml: FakeNvml, ask: Ask) -> None:
    answer = ask(fake_nvml("no-driver"))["NVML"]
    assert (answer["reason"], answer["gpus"]) == ("cannot be asked: Driver Not Loaded", [])


def test_no_library(ask: Ask, tmp_path: Path) -> None:
    """The loader is led to a file that is no library, so that the test does not depend on the machine's driver."""
    (tmp_path / "libnvidia-ml.so.1").write_text("not a library")
    answer = ask({"PATH": "/nonexistent", "LD_LIBRARY_PATH": str(tmp_path)})["NVML"]
    assert answer["reason"] == "cannot be asked: NVML Shared Library Not Found"


def test_what_a_library_prints_is_not_taken_for_an_answer(fake_nvml: FakeNvml, ask: Ask) -> None:
    assert len(gpus_of(ask(fake_nvml("prints")))) == 2


def test_a_library_that_crashes_takes_nothing_with_it(fake_nvml: FakeNvml, ask: Ask) -> None:
    libraries = ask(fake_nvml("crash"))
    assert libraries["NVML"]["reason"] == "ended the process that asked it with signal SIGABRT"
    assert set(libraries) >= {"NVML", "AMD SMI", "npu-smi"}


def _ends(pid: int) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize("mode", ["hang", "slow"])
def test_a_library_that_hangs_is_left_and_killed(fake_nvml: FakeNvml, ask: Ask, tmp_path: Path, mode: str) -> None:
    note = tmp_path / "pid"
    answer = ask(fake_nvml(mode, FAKE_NVML_PID=str(note)), limit_s=3.0)["NVML"]
    if mode == "hang":
        assert answer["reason"].startswith("did not answer within ")
        assert answer["gpus"] == []
    else:
        # One GPU woke up in time.
        assert [gpu["pci"] for gpu in answer["gpus"]] == [{"value": "0000:18:00.0"}]
        assert answer["reason"] == ""
        (said,) = answer["notes"]
        assert said.startswith("NVML described 1 GPUs of 2 and then did not answer within ")
    assert _ends(int(note.read_text()))


def test_a_lost_gpu_is_a_note(fake_nvml: FakeNvml, ask: Ask) -> None:
    answer = ask(fake_nvml("lost"))["NVML"]
    assert answer["notes"] == ["NVML does not open GPU 1: gpu is lost."]
    assert len(answer["gpus"]) == 1


def test_a_pci_domain_beyond_four_digits_is_kept(fake_nvml: FakeNvml, ask: Ask) -> None:
    assert values(gpus_of(ask(fake_nvml("far-domain")))[1], "pci") == ("10000:ab:00.0",)


def test_mig_instances_are_named(fake_nvml: FakeNvml, ask: Ask) -> None:
    first, second = gpus_of(ask(fake_nvml("mig")))
    assert values(first, "mig", "mig_uuids") == (False, [])
    assert values(second, "mig", "mig_uuids") == (True, ["GPU-22222222-0000-0000-0000-000000000000"])


def test_a_name_that_is_no_text_hides_nothing_else(fake_nvml: FakeNvml, ask: Ask) -> None:
    first, _ = gpus_of(ask(fake_nvml("binary-name")))
    assert "value" not in first["name"]
    assert values(first, "memory_total_bytes") == (80 << 30,)
