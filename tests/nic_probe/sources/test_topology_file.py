from __future__ import annotations

import gzip
import os
from pathlib import Path
from xml.sax.saxutils import quoteattr

import pytest
from archives import sampled_cuts
from hypothesis import given, settings
from hypothesis import strategies as st
from pdpanel.nic_probe.errors import SourceError
from pdpanel.nic_probe.sources.topology_file import read_topology_file

HWLOC = b"""<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE topology SYSTEM "hwloc2.dtd">
<topology version="2.0"><object type="Machine" nodeset="0x1"><object type="NUMANode" os_index="0" cpuset="0xf"/>
<object type="Bridge" bridge_type="0-1" bridge_pci="0000:[16-16]">
<object type="PCIDev" pci_busid="0000:16:00.0" pci_type="0302 [10de:2330] [10de:16c1] a1"/></object></object></topology>
"""
NCCL = b"""<system version="1"><cpu numaid="0"><pci busid="0000:16:00.0" class="0x030200"><gpu dev="0" sm="90"/></pci>
</cpu></system>
"""


def refusal(path: Path) -> str:
    with pytest.raises(SourceError) as raised:
        read_topology_file(path)
    assert raised.value.field == "--topology"
    return str(raised.value)


def save(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "topology.xml"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(("content", "source"), [(HWLOC, "hwloc"), (NCCL, "nccl"), (b"\xef\xbb\xbf" + NCCL, "nccl")])
def test_the_kind_of_file_is_seen_from_its_content(tmp_path: Path, content: bytes, source: str) -> None:
    host = read_topology_file(save(tmp_path, content))
    assert host.source == source
    assert [gpu.pci for gpu in host.gpus] == ["0000:16:00.0"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty"),
        (b"not XML", "is not proper XML"),
        (b"<graphs version='1'/>", "its outermost element is <graphs>"),
        (b"<topologydiff/>", "its outermost element is <topologydiff>"),
        (b"<topology version='2.0'/>", "holds no machine"),
        (b"<system version='1'/>", "holds no <cpu>"),
        (b'<!DOCTYPE topology [<!ENTITY x "y">]><topology/>', "declares XML entities"),
        (gzip.compress(NCCL), "is compressed; unpack it first"),
        (NCCL + b" " * (33 << 20), "has more than 8 MiB"),
    ],
)
def test_what_is_no_topology_is_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    assert problem in refusal(save(tmp_path, content))


def test_a_path_that_is_no_topology_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "does not exist" in refusal(tmp_path / "nothing")
    assert "is a directory; give it with --root instead" in refusal(tmp_path)
    assert "is not a plain file" in refusal(tmp_path / "pipe")
    assert "cannot be read" in refusal(Path("a\0b"))


@pytest.mark.parametrize("content", [HWLOC, NCCL])
def test_every_truncation_is_found(tmp_path: Path, content: bytes) -> None:
    end = len(content.rstrip())
    for cut in sampled_cuts(content, 400):
        if len(cut) >= end:
            continue  # Only the last newline is missing.
        message = refusal(save(tmp_path, cut))
        assert "is truncated" in message or "is empty" in message, (len(cut), message)


ATTRIBUTES = {
    "type": ["Machine", "Package", "NUMANode", "Bridge", "PCIDev", "OSDev", "Misc", "L3Cache"],
    "pci_busid": ["0000:16:00.0", "0000:17:00.0", "10000:e0:06.0", "0000:16:00", "x"],
    "pci_type": ["0302 [10de:2330] [0:0] a1", "0200 [1d0f:efa2] [0:0]", "0207 [15b3:1021]", "0604 [8086:1]", "zz"],
    "pci_link_speed": ["31.5", "0.0", "-1", "nan", "1e9"],
    "bridge_type": ["0-1", "1-1", "x"],
    "bridge_pci": ["0000:[16-17]", "0000:[", "ffffffff:[00-ff]"],
    "os_index": ["0", "1", "255", "-1", "\u0663"],
    "cpuset": ["0xff", "0x0", "0xf...f", ",,", "\u0663"],
    "nodeset": ["0x1", "0x3", "x"],
    "osdev_type": ["0", "2", "3", "5", "16", "48", "-1", "9" * 30, "\u0663"],
    "name": ["cuda0", "nvml1", "mlx5_0", "eth0", "Port1State", "Port1GID0", "HostName", "NodeGUID", "a+b", "++", ""],
    "value": ["4", "fe80::1", "0x3a4", "", "\u0663"],
    "version": ["1.0", "2.0", "3.0", "x", "\u0663.0"],
    "local_memory": ["1024", "-5", "\u0663"],
    "numaid": ["0", "1", "-1", "x", "\u0663"],
    "busid": ["0000:16:00.0", "ffff:ff:01.0", "x"],
    "class": ["0x030200", "0x03", "0x020700", "0x", "0x0302000000", "-1"],
    "vendor": ["0x10de", "0x15b3", "0x1d0f", "x"],
    "device": ["0xefa0", "9" * 20],
    "link_speed": ["16 GT/s", "8.0 GT/s PCIe", "", "fast"],
    "link_width": ["16", "0", "-3", "9" * 20],
    "guid": ["0x0", "0x1", "0x48b9170003a1420c", "x"],
    "port": ["0", "1", "x"],
    "dev": ["0", "1", "\u0663", "9" * 30],
    "sm": ["90", "x", "9" * 30],
    "gcn": ["908", "gfx942:x", "zz"],
    "speed": ["200000", "-1", "9" * 30],
    "host_hash": ["0x1", "0x2"],
    "affinity": ["000000ff,ffff0000", "x"],
}
TAGS = ["object", "info", "cpu", "pci", "nic", "net", "gpu", "xgmi", "nvlink", "page_type"]
PAIRS = st.sampled_from([(key, value) for key, values in ATTRIBUTES.items() for value in values])


def element(tag: str, pairs: list[tuple[str, str]], inner: list[str]) -> str:
    attributes = " ".join(f"{key}={quoteattr(value)}" for key, value in dict(pairs).items())
    return f"<{tag} {attributes}>{''.join(inner)}</{tag}>"


ELEMENTS = st.recursive(
    st.builds(element, st.sampled_from(TAGS), st.lists(PAIRS, max_size=6), st.just([])),
    lambda inner: st.builds(element, st.sampled_from(TAGS), st.lists(PAIRS, max_size=6), st.lists(inner, max_size=4)),
    max_leaves=16,
)
ROOTS = st.builds(
    element, st.sampled_from(["topology", "system"]), st.lists(PAIRS, max_size=2), st.lists(ELEMENTS, max_size=4)
)


@settings(deadline=None, max_examples=400)
@given(ROOTS)
def test_any_elements_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.xml"
    path.write_text(text, encoding="utf-8")
    try:
        host = read_topology_file(path)
    except SourceError:
        return
    for device in host.pci.devices.values():
        assert set(device.bridges) <= set(host.pci.devices)
        assert not device.chain or device.chain[-1] == device.address
    for gpu in host.gpus:
        assert gpu.pci in host.pci.devices
    for nic in host.rdma:
        assert nic.pci.value is None or nic.pci.value in host.pci.devices
    assert len({nic.name for nic in host.rdma}) == len(host.rdma)
