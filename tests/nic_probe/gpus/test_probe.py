from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace

import pynvml
import pytest
from pdpanel.nic_probe.gpu import probe_gpus
from pdpanel.nic_probe.sysfs import HostFiles

Grow = Callable[[Mapping[str, str]], Path]


class _FakeLive(HostFiles):
    """The files of a capture, taken for the live machine."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.live = True


def _refuse(*_: object) -> object:
    raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)


@pytest.fixture
def one_gpu(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A driver with one GPU."""
    answers: dict[str, Callable[..., object]] = {
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount": lambda: 1,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetPciInfo": lambda _: SimpleNamespace(busId="00000000:18:00.0"),
        "nvmlDeviceGetName": lambda _: b"NVIDIA H200",
        "nvmlDeviceGetUUID": lambda _: "GPU-1",
        "nvmlDeviceGetMemoryInfo": lambda _: SimpleNamespace(total=100, used=30),
        "nvmlDeviceGetCudaComputeCapability": lambda _: (9, 0),
        "nvmlSystemGetDriverVersion": lambda: "570.1",
        "nvmlSystemGetCudaDriverVersion_v2": lambda: 12080,
    }
    for name, answer in answers.items():
        monkeypatch.setattr(pynvml, name, answer)
    return monkeypatch


def test_nvml_and_the_bus_describe_the_same_gpu(one_gpu: pytest.MonkeyPatch, grow: Grow) -> None:
    root = grow(
        {
            "sys/bus/pci/devices/0000:18:00.0/class": "0x030200\n",
            "sys/bus/pci/devices/0000:18:00.0/vendor": "0x10de\n",
            "sys/bus/pci/devices/0000:18:00.0/numa_node": "1\n",
        }
    )
    gpus = probe_gpus(_FakeLive(root))
    (gpu,) = gpus.devices
    assert (gpu.pci, gpu.vendor, gpu.name.value, gpu.numa_node.value) == (
        "0000:18:00.0",
        "NVIDIA",
        "NVIDIA H200",
        1,
    )
    assert (gpu.memory_total_bytes.value, gpu.memory_used_bytes.value) == (100, 30)
    assert (gpu.index.value, gpu.compute_capability.value) == (0, "9.0")
    assert (gpus.driver_version.value, gpus.cuda_version.value, gpus.notes) == ("570.1", "12.8", ())


def test_a_call_that_the_driver_refuses_hides_nothing_else(one_gpu: pytest.MonkeyPatch, grow: Grow) -> None:
    one_gpu.setattr(pynvml, "nvmlDeviceGetMemoryInfo", _refuse)
    (gpu,) = probe_gpus(_FakeLive(grow({}))).devices
    assert gpu.memory_total_bytes.reason == "not supported"
    assert gpu.name.value == "NVIDIA H200"


def test_a_gpu_that_does_not_open_is_a_note_and_stays_on_the_bus(one_gpu: pytest.MonkeyPatch, grow: Grow) -> None:
    one_gpu.setattr(pynvml, "nvmlDeviceGetHandleByIndex", _refuse)
    root = grow(
        {
            "sys/bus/pci/devices/0000:18:00.0/class": "0x030200\n",
            "sys/bus/pci/devices/0000:18:00.0/vendor": "0x10de\n",
        }
    )
    gpus = probe_gpus(_FakeLive(root))
    assert gpus.notes == ("NVML does not open GPU 0: not supported.",)
    assert [gpu.index.reason for gpu in gpus.devices] == ["is known from the PCI bus alone"]


def test_no_driver_is_a_note(monkeypatch: pytest.MonkeyPatch, grow: Grow) -> None:
    monkeypatch.setattr(pynvml, "nvmlInit", _refuse)
    gpus = probe_gpus(_FakeLive(grow({})))
    assert (gpus.devices, gpus.notes) == ((), ("NVML cannot be asked: Not Supported.",))
    assert not gpus.driver_version.known


def test_no_library_is_a_note(monkeypatch: pytest.MonkeyPatch, grow: Grow) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    gpus = probe_gpus(_FakeLive(grow({})))
    assert gpus.notes == ("NVML cannot be asked because the Python package nvidia-ml-py is not installed.",)


def test_a_capture_never_asks_nvml(one_gpu: pytest.MonkeyPatch, grow: Grow) -> None:
    gpus = probe_gpus(HostFiles(grow({})))
    assert (gpus.devices, gpus.notes) == ((), ("NVML is not asked about a capture.",))


def test_display_chips_are_no_gpus(grow: Grow) -> None:
    root = grow(
        {
            "sys/bus/pci/devices/0000:03:00.0/class": "0x030000\n",
            "sys/bus/pci/devices/0000:03:00.0/vendor": "0x1a03\n",
            "sys/bus/pci/devices/0000:05:00.0/class": "0x038000\n",
            "sys/bus/pci/devices/0000:05:00.0/vendor": "0x1002\n",
            "sys/bus/pci/devices/0000:06:00.0/class": "0x020000\n",
            "sys/bus/pci/devices/0000:06:00.0/vendor": "0x10de\n",
        }
    )
    assert [(gpu.pci, gpu.vendor) for gpu in probe_gpus(HostFiles(root)).devices] == [("0000:05:00.0", "AMD")]


def test_the_capture_of_six_gpus(capture: Callable[[str], Path]) -> None:
    gpus = probe_gpus(HostFiles(capture("hwloc-sysfs/nvidiagpunumanodes.tar.bz2")))
    assert [gpu.pci for gpu in gpus.devices] == [
        *("0004:05:00.0", "0004:06:00.0", "0006:00:00.0"),
        *("0007:00:00.0", "0035:04:00.0", "0035:05:00.0"),
    ]
    assert {gpu.vendor for gpu in gpus.devices} == {"NVIDIA"}
