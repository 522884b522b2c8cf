"""The GPUs of whole hosts: kernel files that a test makes, and libraries that are faked at their boundary."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.nic_probe.gpus.gpu import Gpu, Gpus, Vendor
from pdpanel.nic_probe.gpus.libraries import start_gpu_child
from pdpanel.nic_probe.gpus.probe import probe_gpus
from pdpanel.nic_probe.sources.files import HostFiles
from pdpanel.nic_probe.sources.memory import Link, MemoryTree

if TYPE_CHECKING:
    from .conftest import FakeNvml

AMPLE_S = 40.0
FIRST, SECOND = "0000:18:00.0", "0000:ab:00.0"
Files = dict[str, bytes | Link | None]


class Said:
    """Libraries that have answered."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document

    def collect(self) -> Mapping[str, Any]:
        return self._document


def on_bus(pci: str, vendor: str = "0x10de", class_code: str = "0x030200", driver: str = "", **files: str) -> Files:
    folder = f"sys/bus/pci/devices/{pci}"
    device: Files = {f"{folder}/class": class_code.encode(), f"{folder}/vendor": vendor.encode()}
    device |= {f"{folder}/device": b"0x2330", f"{folder}/numa_node": b"1"}
    device |= {f"{folder}/{name}": text.encode() for name, text in files.items()}
    return device | ({f"{folder}/driver": Link(f"../../../drivers/{driver}")} if driver else {})


def host(*trees: Files, live: bool = False) -> HostFiles:
    """Returns the files of a host; for a `live` one the tree is taken for the machine itself."""
    files = HostFiles(MemoryTree({path: content for tree in trees for path, content in tree.items()}))
    files.live = live
    return files


def nvml(*addresses: str, **head: Any) -> dict[str, Any]:
    rows = [
        {"index": {"value": index}, "pci": {"value": pci}, "name": {"value": "NVIDIA H100"}}
        for index, pci in enumerate(addresses)
    ]
    return {"libraries": {"NVML": {"reason": "", "gpus": rows, "count": {"value": len(rows)}, **head}}}


def silent(library: str, reason: str, *, absent: bool = False) -> dict[str, Any]:
    return {"libraries": {library: {"reason": reason, "gpus": [], "notes": [], "absent": absent}}}


def only(gpus: Gpus) -> Gpu:
    (gpu,) = gpus.devices
    return gpu


def test_two_gpus_from_the_library_to_the_value(fake_nvml: FakeNvml) -> None:
    """Through the real child and the real pynvml, from the fake libnvidia-ml.so.1; CUDA sees the second alone."""
    environ = fake_nvml(CUDA_VISIBLE_DEVICES="1")
    files = host(on_bus(FIRST), on_bus(SECOND))
    gpus = probe_gpus(files, environ, start_gpu_child(environ, limit_s=AMPLE_S))
    first, second = gpus.devices
    assert (first.pci, first.vendor, first.name.value) == (FIRST, Vendor.NVIDIA, "NVIDIA H100 80GB HBM3")
    assert (first.nvml_index.value, first.cuda_index.value, first.visible_index.value) == (0, 0, None)
    assert (second.nvml_index.value, second.cuda_index.value, second.visible_index.value) == (1, 1, 0)
    assert first.visible_index.source == "CUDA_VISIBLE_DEVICES"
    assert (second.numa_node.value, second.architecture.value, second.busy_percent.value) == (1, "9.0", 40)
    assert second.health.throttle_reasons.value == ("SwPowerCap", "HwThermalSlowdown")
    assert [process.name.known for process in second.processes.otherwise(())] == [True, False]
    assert (second.pcie_link.speed_gts.value, second.pcie_link.max_width.value) == (2.5, 16)
    assert (gpus.driver_version.value, gpus.runtime_version.value, gpus.notes) == ("570.86.15", "12.8", ())


def test_a_library_that_lies(fake_nvml: FakeNvml) -> None:
    environ = fake_nvml("lies")
    gpus = probe_gpus(host(on_bus(FIRST)), environ, start_gpu_child(environ, limit_s=AMPLE_S))
    first, second = gpus.devices
    assert first.memory_total_bytes.reason == "reads 0, which no GPU has"
    assert second.memory_used_bytes.reason == f"reads {99 << 30}, more than the GPU has"
    assert not first.busy_percent.known
    assert f"A library names GPUs at {SECOND}, where the PCI bus has none." in gpus.notes
    assert len(gpus.notes) == 3


def test_a_gpu_that_the_bus_does_not_list_is_kept() -> None:
    driver: Files = {
        "proc/driver/nvidia/version": b"NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15"
    }
    nic: Files = {"sys/bus/pci/devices/0000:01:00.0/class": b"0x020000"}
    gpus = probe_gpus(host(driver, nic), {}, Said(nvml(FIRST)))
    gpu = only(gpus)
    assert (gpu.name.value, gpu.health.dma_buf.value, gpu.cuda_index.value) == ("NVIDIA H100", True, 0)
    assert (gpu.numa_node.source, gpu.numa_node.reason) == ("sysfs", "does not list this GPU")
    assert gpus.notes == (f"A library names GPUs at {FIRST}, where the PCI bus has none.",)


def test_two_models_have_no_cuda_order(fake_nvml: FakeNvml) -> None:
    environ = fake_nvml("two-models")
    gpus = probe_gpus(host(), environ, start_gpu_child(environ, limit_s=AMPLE_S))
    assert all("CUDA_DEVICE_ORDER=PCI_BUS_ID" in gpu.visible_index.reason for gpu in gpus.devices)
    ordered = environ | {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    gpus = probe_gpus(host(), ordered, start_gpu_child(environ, limit_s=AMPLE_S))
    assert [gpu.cuda_index.value for gpu in gpus.devices] == [0, 1]


def test_the_live_host_is_asked_without_being_told_to(fake_nvml: FakeNvml) -> None:
    gpus = probe_gpus(host(on_bus(FIRST, driver="nvidia"), live=True), fake_nvml("no-driver"))
    gpu = only(gpus)
    assert (gpu.nvml_index.source, gpu.nvml_index.reason) == ("NVML", "cannot be asked: Driver Not Loaded")
    assert gpus.notes == ("NVML cannot be asked: Driver Not Loaded.",)


def test_neither_library_nor_gpu(tmp_path: Path) -> None:
    (tmp_path / "libnvidia-ml.so.1").write_text("not a library")
    gpus = probe_gpus(host(live=True), {"PATH": "/nonexistent", "LD_LIBRARY_PATH": str(tmp_path)})
    assert gpus.devices == ()
    assert "NVML cannot be asked: NVML Shared Library Not Found." in gpus.notes
    assert (gpus.driver_version.known, gpus.runtime_version.known) == (False, False)


def test_libraries_of_other_vendors_are_not_missed() -> None:
    absent = silent("AMD SMI", "cannot be asked because the Python package amdsmi is not installed", absent=True)
    gpus = probe_gpus(host(on_bus(FIRST)), {}, Said({"libraries": nvml(FIRST)["libraries"] | absent["libraries"]}))
    assert gpus.notes == ()
    amd = probe_gpus(host(on_bus(FIRST, "0x1002", "0x120000")), {}, Said(absent))
    assert amd.notes == ("AMD SMI cannot be asked because the Python package amdsmi is not installed.",)


def test_amd_from_its_library_and_the_kernel() -> None:
    """HIP's numbers are those of the kernel's nodes, and ROCR_VISIBLE_DEVICES names the kernel's ids."""
    node = "sys/class/kfd/kfd/topology/nodes"
    kernel: Files = {
        f"{node}/1/properties": b"simd_count 4\nlocation_id 43776\nunique_id 10\ngfx_target_version 90402\n",
        f"{node}/2/properties": b"simd_count 4\nlocation_id 6144\nunique_id 11\ngfx_target_version 90402\n",
        "sys/module/amdgpu/version": b"6.14.14",
        "opt/rocm/.info/version": b"7.0.2-56",
    }
    row = {
        "index": {"value": 0},
        "pci": {"value": FIRST},
        "uuid": {"value": "0cff74a1"},
        "temperature_c": {"value": 55},
    }
    said = Said({"libraries": {"AMD SMI": {"reason": "", "gpus": [row]}}})
    buses = [on_bus(pci, "0x1002", "0x120000", product_name="MI300X") for pci in (FIRST, SECOND)]
    gpus = probe_gpus(host(kernel, *buses), {"ROCR_VISIBLE_DEVICES": "GPU-000000000000000b"}, said)
    first, second = gpus.devices
    assert (first.name.value, first.architecture.value, first.uuid.value) == ("MI300X", "gfx942", "0cff74a1")
    assert (first.cuda_index.value, first.visible_index.value, first.health.temperature_c.value) == (1, 0, 55)
    assert second.cuda_index.reason == "does not see it, as AMD SMI does not"
    assert (gpus.driver_version.value, gpus.runtime_version.value) == ("6.14.14", "7.0.2-56")


def test_hips_own_numbers_count() -> None:
    rows = [
        {"pci": pci, "runtime_index": index, "runtime_uuid": f"GPU-{index}"} for pci, index in ((FIRST, 1), (SECOND, 0))
    ]
    said = Said({"libraries": {"AMD SMI": {"gpus": rows}}})
    gpus = probe_gpus(host(), {"HIP_VISIBLE_DEVICES": "GPU-1"}, said)
    assert [(gpu.cuda_index.value, gpu.visible_index.value) for gpu in gpus.devices] == [(1, 0), (0, None)]


def test_amd_without_any_library() -> None:
    node = "sys/class/kfd/kfd/topology/nodes/1"
    kernel: Files = {
        f"{node}/properties": b"simd_count 4\nlocation_id 6144\nunique_id 10\ngfx_target_version 90010\n",
        f"{node}/mem_banks/0/properties": b"heap_type 1\nsize_in_bytes 68702699520\n",
    }
    gpu = only(probe_gpus(host(kernel, on_bus(FIRST, "0x1002", "0x038000")), {}))
    assert (gpu.architecture.value, gpu.memory_total_bytes.value) == ("gfx90a", 68702699520)
    assert (gpu.uuid.value, gpu.cuda_index.value) == ("GPU-000000000000000a", 0)
    assert (gpu.nvml_index.source, gpu.nvml_index.reason) == ("AMD SMI", "was not asked")


def test_partitions_are_noted() -> None:
    nodes: Files = {
        f"sys/class/kfd/kfd/topology/nodes/{number}/properties": b"simd_count 4\nlocation_id 6144\n"
        for number in (1, 2)
    }
    gpus = probe_gpus(host(nodes, on_bus(FIRST, "0x1002", "0x120000")), {})
    assert only(gpus).cuda_index.value == 0
    assert any("is split into 2 partitions" in note for note in gpus.notes)


def test_ascend() -> None:
    row = {"index": {"value": 3}, "pci": {"value": FIRST}, "name": {"value": "Ascend 910B3"}}
    said = Said({"libraries": {"npu-smi": {"reason": "", "driver_version": {"value": "25.0"}, "gpus": [row]}}})
    gpus = probe_gpus(host(on_bus(FIRST, "0x19e5", "0x120000")), {"ASCEND_RT_VISIBLE_DEVICES": "0"}, said)
    gpu = only(gpus)
    assert (gpu.vendor, gpu.nvml_index.value, gpu.cuda_index.value, gpu.visible_index.value) == (Vendor.HUAWEI, 3, 3, 0)
    assert gpus.driver_version.value == "25.0"


# GPUs that are not usable


@pytest.mark.parametrize("driver", ["vfio-pci", "nouveau"])
def test_a_gpu_of_another_driver_is_listed_and_not_numbered(driver: str) -> None:
    files = host(on_bus(FIRST, driver=driver), on_bus(SECOND, driver="nvidia"))
    gpus = probe_gpus(files, {})
    first, second = gpus.devices
    assert f"bound to the driver {driver}" in first.cuda_index.reason
    assert not first.visible_index.known
    assert second.cuda_index.value == 0
    assert any(note.startswith(f"{FIRST} is bound to {driver}") for note in gpus.notes)


def test_a_live_gpu_without_a_driver_is_not_numbered() -> None:
    files = host(on_bus(FIRST), live=True)
    gpus = probe_gpus(files, {}, Said(silent("NVML", "cannot be asked: Driver Not Loaded")))
    assert "no kernel driver" in only(gpus).cuda_index.reason


def test_gpus_that_the_container_does_not_get() -> None:
    files = host(*(on_bus(pci, driver="nvidia") for pci in (FIRST, "0000:3b:00.0", SECOND)))
    gpus = probe_gpus(files, {}, Said(nvml(SECOND)))
    assert [gpu.cuda_index.value for gpu in gpus.devices] == [None, None, 0]
    assert gpus.devices[0].name.reason == "does not list this GPU"
    assert gpus.notes == (
        "NVML lists 1 of the 3 GPUs of NVIDIA on the PCI bus; "
        "the others are not handed to this container, or not usable.",
    )


def test_a_count_that_contradicts_the_list() -> None:
    gpus = probe_gpus(host(on_bus(FIRST)), {}, Said(nvml(FIRST, count={"value": 8})))
    assert gpus.notes == ("NVML counts 8 GPUs and describes 1.",)


def test_virtual_functions_are_listed_with_a_note() -> None:
    function = "0000:18:00.4"
    link: Files = {f"sys/bus/pci/devices/{function}/physfn": Link(f"../{FIRST}")}
    gpus = probe_gpus(host(on_bus(FIRST), on_bus(function), link), {})
    assert [gpu.pci for gpu in gpus.devices] == [FIRST, function]
    assert f"{function} is a virtual function of {FIRST}." in gpus.notes


# Captures


def test_a_capture_without_answers_is_numbered_by_its_bus() -> None:
    gpus = probe_gpus(host(on_bus(SECOND), on_bus(FIRST)), {})
    assert [(gpu.pci, gpu.cuda_index.value) for gpu in gpus.devices] == [(FIRST, 0), (SECOND, 1)]
    assert gpus.notes == ("No GPU library is asked about a capture, and this one holds no answer of any.",)


@pytest.mark.parametrize(
    "answers",
    [
        nvml(FIRST, SECOND),
        {"nvidia_smi": [{"index": i, "pci": p, "name": "L4"} for i, p in enumerate((FIRST, SECOND))]},
    ],
)
def test_a_capture_brings_the_answers_along(answers: dict[str, Any]) -> None:
    facts: Files = {"pdpanel/facts.json": json.dumps({"gpus": answers}).encode()}
    gpus = probe_gpus(host(facts, on_bus(FIRST), on_bus(SECOND)), {"CUDA_VISIBLE_DEVICES": "1"})
    assert [gpu.nvml_index.value for gpu in gpus.devices] == [0, 1]
    assert [gpu.visible_index.value for gpu in gpus.devices] == [None, 0]
    assert gpus.notes == ()


def test_a_capture_of_nvidias_driver() -> None:
    driver: Files = {
        f"proc/driver/nvidia/gpus/{FIRST}/information": b"Model: NVIDIA H100\nGPU UUID: GPU-1\n",
        "proc/driver/nvidia/version": b"NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release",
    }
    gpus = probe_gpus(host(driver, on_bus(FIRST)), {"CUDA_VISIBLE_DEVICES": "GPU-1"})
    gpu = only(gpus)
    assert (gpu.name.value, gpu.uuid.value, gpu.visible_index.value) == ("NVIDIA H100", "GPU-1", 0)
    assert (gpu.health.dma_buf.value, gpus.driver_version.value) == (True, "570.86.15")


def test_different_models_in_a_capture_have_no_order() -> None:
    other = on_bus(SECOND) | {f"sys/bus/pci/devices/{SECOND}/device": b"0x20b5"}
    assert [gpu.cuda_index.known for gpu in probe_gpus(host(on_bus(FIRST), other), {}).devices] == [False, False]


def test_the_capture_of_six_gpus(capture: Callable[[str], Path]) -> None:
    gpus = probe_gpus(HostFiles(capture("hwloc-sysfs/nvidiagpunumanodes.tar.bz2")), {})
    assert [(gpu.pci, gpu.numa_node.value, gpu.cuda_index.value) for gpu in gpus.devices] == [
        *(("0004:05:00.0", 0, 0), ("0004:06:00.0", 0, 1), ("0006:00:00.0", 0, 2)),
        *(("0007:00:00.0", 8, 3), ("0035:04:00.0", 8, 4), ("0035:05:00.0", 8, 5)),
    ]


PLACES = st.sampled_from(
    [
        *(
            f"sys/bus/pci/devices/{FIRST}/{name}"
            for name in ("class", "vendor", "device", "driver", "numa_node", "physfn")
        ),
        *(f"proc/driver/nvidia/gpus/{name}" for name in (f"{FIRST}/information", f"{FIRST}/numa_status", "x/y")),
        *("proc/driver/nvidia/version", "sys/module/nvidia/version", "pdpanel/facts.json"),
        *(f"sys/class/kfd/kfd/topology/nodes/1/{name}" for name in ("properties", "mem_banks/0/properties")),
    ]
)
CONTENT = st.one_of(
    st.binary(max_size=20),
    st.sampled_from([b"0x030200", b"0x10de", b"0x1002", b"simd_count 4\nlocation_id 6144", b"Node: 1", b"Model: x"]),
    st.sampled_from([b'{"gpus": {"libraries": {"NVML": {"gpus": [{"pci": "0000:18:00.0"}]}}}}', b'{"gpus": [1]}']),
    st.just(None),
    st.text(max_size=8).map(Link),
)


@given(st.dictionaries(PLACES, CONTENT), st.dictionaries(st.just("CUDA_VISIBLE_DEVICES"), st.text(max_size=5)))
def test_no_capture_is_too_odd(files: Files, environ: dict[str, str]) -> None:
    gpus = probe_gpus(host(files), environ)
    for gpu in gpus.devices:
        assert gpu.visible_index.known or gpu.visible_index.reason


class _Hanging(MemoryTree):
    """The files of a live host on which some drivers' files never answer, until the test lets them."""

    live = True

    def __init__(self, files: Files, hanging: str) -> None:
        super().__init__(files)
        self._hanging = hanging
        self.let_go = threading.Event()

    def read(self, place: str, limit: int) -> bytes:
        if place.endswith(self._hanging):
            self.let_go.wait(AMPLE_S)
        return super().read(place, limit)


@pytest.mark.parametrize(
    ("device", "hanging"),
    [
        (on_bus(FIRST, driver="nvidia") | {f"proc/driver/nvidia/gpus/{FIRST}/information": b"Model: x"}, "information"),
        (on_bus(FIRST, "0x1002", "0x120000", driver="amdgpu", gpu_busy_percent="1"), "gpu_busy_percent"),
    ],
)
def test_a_driver_whose_files_hang_hides_no_gpu(device: Files, hanging: str) -> None:
    tree = _Hanging(device, hanging)
    gpu = only(probe_gpus(HostFiles(tree), {}, Said({})))
    tree.let_go.set()
    assert (gpu.pci, gpu.numa_node.value, gpu.name.known) == (FIRST, 1, False)
