from __future__ import annotations

from dataclasses import replace

import pytest
from pdpanel.nic_probe.gpus.gpu import Gpu, Vendor
from pdpanel.nic_probe.reading import Reading
from pdpanel.nic_probe.sources.safe_xml import XmlNode
from pdpanel.nic_probe.sources.xml_devices import (
    Identity,
    bit_mask,
    bus_name,
    cpu_list,
    gpu,
    gpu_vendor,
    is_rdma,
    netdev,
    numbered,
    pci_device,
    rdma_device,
    rdma_port,
    unsaid,
)
from pdpanel.nic_probe.topology.pci import PcieLink


@pytest.mark.parametrize(
    ("class_code", "vendor", "expected"),
    [
        (0x0300, 0x10DE, Vendor.NVIDIA),
        (0x0302, 0x10DE, Vendor.NVIDIA),
        (0x0680, 0x10DE, None),  # NVSwitch
        (0x0403, 0x10DE, None),  # The audio function of a graphics card.
        (0x1200, 0x1002, Vendor.AMD),
        (0x0380, 0x1002, Vendor.AMD),
        (0x1200, 0x19E5, Vendor.HUAWEI),
        (0x0380, 0x8086, Vendor.INTEL),
        (0x0300, 0x8086, None),
        (0x0300, 0x1A03, None),  # The VGA controller of a BMC.
        (0x0300, 0x1D0F, None),
    ],
)
def test_gpus_are_known_by_class_and_vendor(class_code: int, vendor: int, expected: Vendor | None) -> None:
    assert gpu_vendor(Identity(class_code, vendor)) is expected


def test_a_gpu_of_unknown_vendor_is_taken_for_the_one_expected() -> None:
    assert gpu_vendor(Identity(0x0302), Vendor.NVIDIA) is Vendor.NVIDIA
    assert gpu_vendor(Identity(0x0302)) is None
    assert gpu_vendor(Identity(0x0207), Vendor.NVIDIA) is None


@pytest.mark.parametrize(
    ("identity", "expected"),
    [
        (Identity(0x0207, 0x15B3, 0x1021), True),
        (Identity(0x0207), True),
        (Identity(0x0200, 0x1D0F, 0xEFA0), True),
        (Identity(0x0200, 0x1D0F, 0xEFAF), True),
        (Identity(0x0200, 0x1D0F, 0xEC20), False),
        (Identity(0x0200, 0x15B3, 0xEFA0), False),
        (Identity(0x0200, 0x8086, 0x1572), False),
    ],
)
def test_rdma_nics_are_known_by_their_identity(identity: Identity, expected: bool) -> None:
    assert is_rdma(identity) is expected


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("0000:10:1b.0", "rdmap16s27"),
        ("0000:a0:00.0", "rdmap160s0"),
        ("0000:00:15.1", "rdmap0s21f1"),
        ("0002:ff:1f.0", "rdmaP2p255s31"),
    ],
)
def test_an_unnamed_efa_has_the_name_of_its_place(address: str, name: str) -> None:
    assert bus_name(address, Identity(0x0200, 0x1D0F, 0xEFA1)) == name


def test_another_unnamed_nic_has_its_address() -> None:
    assert bus_name("0101:00:00.0", Identity(0x0207, 0x15B3)) == "0101:00:00.0"


def some(pci: str, vendor: Vendor = Vendor.NVIDIA, number: int | None = None) -> Gpu:
    one = gpu("file", pci, vendor, unsaid("file"))
    known = Reading(number, "file") if number is not None else one.nvml_index
    return replace(one, nvml_index=known, cuda_index=known)


def numbers(*gpus: Gpu) -> tuple[list[tuple[str, int | None]], list[str]]:
    found, notes = numbered("file", gpus)
    assert all(one.visible_index == one.cuda_index for one in found)
    return [(one.pci, one.cuda_index.value) for one in found], notes


def test_gpus_without_numbers_count_in_the_order_of_the_bus() -> None:
    found, notes = numbers(some("0001:00:00.0"), some("0000:a1:00.0"), some("0000:1a:00.0"))
    assert found == [("0000:1a:00.0", 0), ("0000:a1:00.0", 1), ("0001:00:00.0", 2)]
    assert notes == []
    (first, *_), _ = numbered("file", [some("0000:1a:00.0")])
    assert first.cuda_index.source == "file: order of the PCI addresses"


def test_numbers_of_the_file_are_kept() -> None:
    found, notes = numbers(some("0000:63:00.0", number=0), some("0000:03:00.0", number=3), some("0000:43:00.0"))
    assert found == [("0000:03:00.0", 3), ("0000:43:00.0", None), ("0000:63:00.0", 0)]
    assert notes == []


def test_one_number_for_several_is_not_believed() -> None:
    found, notes = numbers(some("0000:02:00.0", number=0), some("0000:01:00.0", number=0))
    assert found == [("0000:01:00.0", 0), ("0000:02:00.0", 1)]
    assert notes == ["The file gives several NVIDIA GPUs one number, so they count in the order of the bus."]


def test_each_vendor_counts_for_itself() -> None:
    found, _ = numbers(some("0000:01:00.0"), some("0000:02:00.0", Vendor.AMD), some("0000:03:00.0"))
    assert found == [("0000:01:00.0", 0), ("0000:02:00.0", 0), ("0000:03:00.0", 1)]


def test_a_nic_is_unusable_when_no_port_is_active() -> None:
    down = replace(rdma_port("file", 1), state=Reading("DOWN", "file"))
    active = replace(rdma_port("file", 2), state=Reading("ACTIVE", "file"))

    def usable(*ports: object) -> tuple[bool | None, str]:
        nic = rdma_device("file", "mlx5_0", unsaid("file"), unsaid("file"), [*ports])  # type: ignore[list-item]
        return nic.usable, nic.why_not

    assert usable(down) == (False, "port 1 is DOWN")
    assert usable(down, active) == (None, "the topology file does not say")
    assert usable(down, rdma_port("file", 2))[0] is None
    assert usable()[0] is None


def test_a_function_has_the_path_that_the_kernel_would_give() -> None:
    link = PcieLink(unsaid("f"), unsaid("f"), unsaid("f"), unsaid("f"))
    chain = ("pci0000:16", "0000:16:01.0", "0000:17:00.0")
    device = pci_device("f", chain[-1], chain, Identity(0x0302, 0x10DE, 0x2330), unsaid("f"), link)
    assert device.path == "sys/devices/pci0000:16/0000:16:01.0/0000:17:00.0"
    assert (device.class_code.value, device.vendor.value, device.device.value) == (0x0302, "0x10de", "0x2330")
    assert pci_device("f", chain[-1], (), Identity(), unsaid("f"), link).path == ""


def test_an_interface_has_what_is_known() -> None:
    found = netdev("f", "eth0", Reading("0000:01:00.0", "f"), unsaid("f"), mac=Reading("02:00:00:00:00:01", "f"))
    assert (found.name, found.mac.value, found.mtu.reason) == (
        "eth0",
        "02:00:00:00:00:01",
        "the topology file does not say",
    )


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("0x00000003", "0-1"),
        ("00000000,00000000,00ffffff", "0-23"),
        ("0x0000ffff,0xffffffff,,0x0000ffff,0xffffffff", "0-47,96-143"),
        ("0x0", ""),
        ("5", "0,2"),
        ("ffffffff," * 300 + "ffffffff", "0-9631"),
    ],
)
def test_masks_of_cpus_are_lists(text: str, cpus: str) -> None:
    mask = bit_mask(XmlNode("object", {"cpuset": text}), "cpuset")
    assert mask is not None and cpu_list(mask) == cpus


@pytest.mark.parametrize("text", ["", "0xf...f", "0xf...f,0xffff0000", "xyz", "123456789", "-1"])
def test_what_is_no_mask_is_none(text: str) -> None:
    assert bit_mask(XmlNode("object", {"cpuset": text}), "cpuset") is None
