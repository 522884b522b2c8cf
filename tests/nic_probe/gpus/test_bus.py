from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pdpanel.nic_probe.gpus.bus import bus_gpus, nvidia_driver
from pdpanel.nic_probe.gpus.gpu import Vendor
from pdpanel.nic_probe.sources.files import HostFiles
from pdpanel.nic_probe.sources.memory import Link, MemoryTree

INFORMATION = """Model: \t\t NVIDIA H100 80GB HBM3
IRQ:   \t\t 123
GPU UUID: \t GPU-11111111-0000-0000-0000-000000000000
Bus Type: \t PCIe
Bus Location: \t 0000:18:00.0
Device Minor: \t 0
GPU Excluded:\t No
"""


def host(*devices: tuple[str, str, str], **files: str) -> HostFiles:
    """Returns a host with PCI devices (address, vendor, class); further files by path, `__` for `/`."""
    tree: dict[str, bytes | Link | None] = {}
    for address, vendor, class_code in devices:
        folder = f"sys/bus/pci/devices/{address}"
        tree |= {f"{folder}/class": class_code.encode(), f"{folder}/vendor": vendor.encode()}
        tree |= {f"{folder}/device": b"0x1234", f"{folder}/numa_node": b"1"}
    return HostFiles(MemoryTree(tree | {path: text.encode() for path, text in files.items()}))


def planted(files: dict[str, bytes | Link | None]) -> HostFiles:
    return HostFiles(MemoryTree(files))


@pytest.mark.parametrize(
    ("vendor", "class_code", "whose"),
    [
        ("0x10de", "0x030000", Vendor.NVIDIA),
        ("0x10de", "0x030200", Vendor.NVIDIA),
        ("0x1002", "0x038000", Vendor.AMD),
        ("0x1002", "0x120000", Vendor.AMD),
        ("0x19e5", "0x120000", Vendor.HUAWEI),
        ("0x8086", "0x038000", Vendor.INTEL),
    ],
)
def test_gpus_of_every_vendor(vendor: str, class_code: str, whose: Vendor) -> None:
    (gpu,) = bus_gpus(host(("0000:18:00.0", vendor, class_code)))
    assert (gpu.pci, gpu.vendor, gpu.model, gpu.numa_node.value) == ("0000:18:00.0", whose, f"{vendor}:0x1234", 1)


@pytest.mark.parametrize(
    ("address", "vendor", "class_code", "what"),
    [
        ("0000:03:00.0", "0x1a03", "0x030000", "the display of a management controller"),
        ("0000:00:02.0", "0x8086", "0x038000", "the graphics inside a processor"),
        ("0000:00:02.0", "0x8086", "0x030000", "the graphics inside a processor"),
        ("0000:06:00.0", "0x10de", "0x068000", "an NVSwitch"),
        ("0000:06:00.1", "0x10de", "0x040300", "the sound of a graphics card"),
        ("0000:06:00.0", "0x15b3", "0x020000", "a NIC"),
        ("0000:06:00.0", "0x19e5", "0x030000", "the display of a management controller"),
    ],
)
def test_what_is_no_gpu(address: str, vendor: str, class_code: str, what: str) -> None:
    assert bus_gpus(host((address, vendor, class_code))) == (), what


def test_the_order_is_that_of_the_bus() -> None:
    addresses = ("10000:01:00.0", "0001:01:00.0", "0000:9f:00.0")
    gpus = bus_gpus(host(*((address, "0x10de", "0x030200") for address in addresses)))
    assert [gpu.pci for gpu in gpus] == [*reversed(addresses)]


def test_what_nvidias_driver_says_of_a_gpu() -> None:
    files = host(
        ("0000:18:00.0", "0x10de", "0x030200"), **{"proc/driver/nvidia/gpus/0000:18:00.0/information": INFORMATION}
    )
    (gpu,) = bus_gpus(files)
    assert gpu.name.value == "NVIDIA H100 80GB HBM3"
    assert gpu.uuid.value == "GPU-11111111-0000-0000-0000-000000000000"
    assert not gpu.excluded


def test_a_gpu_that_the_driver_left_alone() -> None:
    said = INFORMATION.replace("Excluded:\t No", "Excluded:\t Yes").replace("GPU-1111", "GPU-????")
    (gpu,) = bus_gpus(host(**{"proc/driver/nvidia/gpus/0000:18:00.0/information": said}))
    assert gpu.excluded
    assert gpu.uuid.value is None


def test_a_capture_of_the_driver_alone() -> None:
    (gpu,) = bus_gpus(host(**{"proc/driver/nvidia/gpus/0000:18:00.0/information": INFORMATION}))
    assert (gpu.pci, gpu.vendor, gpu.numa_node.known) == ("0000:18:00.0", Vendor.NVIDIA, False)


def test_the_memory_of_a_gpu_is_no_node_of_cpus() -> None:
    status = "Node:      255\nStatus:    online\nAddress:   40000000000\n"
    folder = "sys/bus/pci/devices/0000:18:00.0"
    files = host(
        ("0000:18:00.0", "0x10de", "0x030200"),
        **{f"{folder}/numa_node": "255", "proc/driver/nvidia/gpus/0000:18:00.0/numa_status": status},
    )
    (gpu,) = bus_gpus(files)
    assert gpu.numa_node.reason == "reads 255, which is the memory of a GPU"


def test_a_platform_that_does_not_say_which_node() -> None:
    files = host(("0000:18:00.0", "0x10de", "0x030200"), **{"sys/bus/pci/devices/0000:18:00.0/numa_node": "-1"})
    (gpu,) = bus_gpus(files)
    assert gpu.numa_node.reason == "reads '-1', which is not a node"


def test_drivers_and_virtual_functions() -> None:
    folder = "sys/bus/pci/devices/0000:18:00.4"
    (gpu,) = bus_gpus(
        planted(
            {
                f"{folder}/class": b"0x030200",
                f"{folder}/vendor": b"0x10de",
                f"{folder}/driver": Link("../../../bus/pci/drivers/vfio-pci"),
                f"{folder}/physfn": Link("../0000:18:00.0"),
            }
        )
    )
    assert (gpu.driver.value, gpu.physical_function.value) == ("vfio-pci", "0000:18:00.0")


@pytest.mark.parametrize(
    ("line", "version", "dma_buf"),
    [
        (
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023",
            "535.104.05",
            False,
        ),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build", "570.86.15", True),
        ("NVRM version: nonsense", None, False),
    ],
)
def test_nvidias_driver(line: str, version: str | None, dma_buf: bool) -> None:
    number, exports = nvidia_driver(host(**{"proc/driver/nvidia/version": f"{line}\nGCC version: gcc 13.2.0\n"}))
    assert (number.value, exports.value) == (version, dma_buf)


def test_a_driver_without_its_proc_files() -> None:
    number, exports = nvidia_driver(host(**{"sys/module/nvidia/version": "570.86.15\n"}))
    assert (number.value, exports.known) == ("570.86.15", False)


def test_gpus_of_a_capture_with_little_more_than_classes(capture: Callable[[str], Path]) -> None:
    """No vendor and no numa_node there: the driver's folder names the GPUs, and the near CPUs their nodes."""
    gpus = bus_gpus(HostFiles(capture("hwloc-sysfs/nvidiagpunumanodes.tar.bz2")))
    assert {gpu.vendor for gpu in gpus} == {Vendor.NVIDIA}
    assert [(gpu.pci, gpu.numa_node.value) for gpu in gpus] == [
        *(("0004:05:00.0", 0), ("0004:06:00.0", 0), ("0006:00:00.0", 0)),
        *(("0007:00:00.0", 8), ("0035:04:00.0", 8), ("0035:05:00.0", 8)),
    ]
