"""What of a kernel file leaves the host."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.nic_probe.dump.masks import masked

TCP = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1
   1: 0100000A:0016 05B300C6:D431 01 00000000:00000000 00:00000000 00000000     0        0 2
   2: 0100000A:0017 06B300C6:D431 06 00000000:00000000 00:00000000 00000000     0        0 0
"""


def mask(place: str, text: str) -> str:
    return masked(place, text.encode(), Counter()).decode()


def test_a_mac_address_keeps_its_vendor_alone() -> None:
    place = "sys/devices/pci0000:00/0000:18:00.0/net/eth0/address"
    assert mask(place, "a0:88:c2:03:1f:7e\n") == "a0:88:c2:00:00:00\n"
    assert mask(place, "80:00:02:08:fe:80:00:00:00:00:00:00:a0:88:c2:03:00:03:1f:7e\n").startswith("80:00:02:00:00:")


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("sys/devices/x/infiniband/mlx5_0/ports/1/gids/3", "fe80:0000:0000:0000:a288:c2ff:fe03:1f7e\n"),
        ("sys/devices/x/infiniband/mlx5_0/node_guid", "a088:c203:0003:1f7e\n"),
        ("sys/devices/x/resource", "0x000000d0fe000000 0x000000d0ffffffff 0x000000000014220c\n"),
        ("proc/driver/nvidia/gpus/0000:18:00.0/information", "GPU UUID: \t GPU-5f0a3c2e\nBus Location: 0000:18:00.0\n"),
    ],
)
def test_what_affinity_hangs_on_stays(place: str, text: str) -> None:
    assert mask(place, text) == text


def test_of_the_command_line_only_named_parameters_stay() -> None:
    line = "BOOT_IMAGE=/vmlinuz root=UUID=4f5e token=s3cret iommu=pt hugepagesz=1G ds=nocloud;password=x pci=realloc\n"
    assert mask("proc/cmdline", line) == "iommu=pt hugepagesz=1G pci=realloc"


@pytest.mark.parametrize("place", ["proc/net/tcp", "proc/self/net/tcp", "proc/4242/net/tcp"])
def test_of_connections_only_the_listening_ones_stay_and_the_others_are_counted(place: str) -> None:
    states: Counter[str] = Counter()
    kept = masked(place, TCP.encode(), states).decode()
    assert kept.splitlines() == TCP.splitlines()[:2]
    assert states == {"LISTEN": 1, "ESTABLISHED": 1, "TIME_WAIT": 1}


def test_kernel_addresses_and_serial_numbers_go() -> None:
    assert mask("proc/modules", "ib_core 16384 2 a,b, Live 0xffffffffc0a4b000\n") == "ib_core 16384 2 a,b, Live 0x0\n"
    assert mask("proc/cpuinfo", "model\t: A\nSerial\t\t: 00000000a1b2c3d4\n") == "model\t: A\nSerial\t\t: removed\n"
    assert "1320" not in mask("proc/driver/nvidia/gpus/x/information", "Board Serial Number: 1320221012\n")


def test_of_the_mounts_only_the_shared_memory_stays() -> None:
    mounts = "//nas/home /home cifs username=ada,password=x 0 0\ntmpfs /dev/shm tmpfs rw,size=64m 0 0\n"
    assert mask("proc/self/mounts", mounts) == "tmpfs /dev/shm tmpfs rw,size=64m 0 0\n"
    info = (
        "22 1 0:20 / / rw - overlay overlay rw,lowerdir=/secret\n23 22 0:21 / /home rw - cifs //nas/home username=ada\n"
    )
    assert mask("proc/self/mountinfo", info) == "22 1 0:20 / / rw - overlay none rw\n"


def test_files_that_only_have_to_exist_become_empty() -> None:
    assert mask("run/.containerenv", 'name="ada"\n') == mask(".dockerenv", "x") == ""


def test_the_serial_number_in_the_configuration_space_is_blanked_and_acs_stays() -> None:
    config = bytearray(4096)
    config[0x100:0x104] = (0x0003 | 1 << 16 | 0x148 << 20).to_bytes(4, "little")
    config[0x104:0x10C] = bytes.fromhex("7e1f03fffec288a0")
    config[0x148:0x14C] = (0x000D | 1 << 16).to_bytes(4, "little")
    config[0x14E:0x150] = b"\x1d\x00"
    kept = masked("sys/devices/pci0000:00/0000:18:00.0/config", bytes(config), Counter())
    assert kept[0x104:0x10C] == bytes(8)
    assert kept[:0x104] == config[:0x104] and kept[0x10C:] == config[0x10C:]


def test_a_loop_of_capabilities_ends() -> None:
    config = bytearray(4096)
    config[0x100:0x104] = (0x0001 | 0x200 << 20).to_bytes(4, "little")
    config[0x200:0x204] = (0x0001 | 0x100 << 20).to_bytes(4, "little")
    assert masked("sys/x/config", bytes(config), Counter()) == config


def test_of_vital_product_data_the_name_and_the_mark_of_a_switch_stay() -> None:
    name, fields = b"ConnectX-7", b"PN\x05MCX75SN\x04S123VU\x06SW_MNGRV\x01x"
    data = b"\x82" + len(name).to_bytes(2, "little") + name + b"\x90" + len(fields).to_bytes(2, "little") + fields
    kept = masked("sys/devices/pci0000:00/0000:18:00.0/vpd", data, Counter())
    assert kept.startswith(b"\x82\x0a\x00ConnectX-7") and len(kept) == len(data)
    assert b"SW_MNG" in kept and b"S123" not in kept
    assert masked("sys/x/vpd", b"\x90\x04\x00SN\x01x", Counter()) == bytes(7)


@given(
    st.sampled_from(
        ["proc/net/tcp", "proc/self/mountinfo", "proc/cmdline", "proc/modules", "sys/a/config", "sys/a/vpd", "sys/a"]
    ),
    st.binary(max_size=400),
)
def test_no_content_makes_it_raise(place: str, data: bytes) -> None:
    assert isinstance(masked(place, data, Counter()), bytes)
