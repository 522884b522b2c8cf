"""Whatever a capture or a topology file holds, the whole way from it to findings raises nothing but SourceError."""

from __future__ import annotations

import json
import random
import string
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pdpanel.nic_probe import (
    SourceError,
    check_host,
    host_of_topology,
    probe_document,
    probe_host,
    survey_topology,
)
from pdpanel.nic_probe.host import Host
from pdpanel.nic_probe.sources.capture import open_capture
from pdpanel.nic_probe.sources.files import HostFiles
from pdpanel.nic_probe.sources.topology_file import read_topology_file
from simulated_node import grow_node

_GARBAGE = st.one_of(
    st.sampled_from(
        ["", "\n", "-1\n", "0x\n", "N/A (no PMA)\n", "4: ACTIVE\n", "999999999999999999999\n", "\x00", "{}", "[1]"]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    st.integers(-(2**70), 2**70).map(str),
)


def answers(host: Host) -> None:
    """Goes the whole way from a host; every answer must be plain JSON."""
    topology = survey_topology(host)
    document = probe_document(host, topology)
    json.dumps(document, allow_nan=False)
    for finding in check_host(host, topology):
        assert "which is a fault of pdpanel" not in finding.reason, finding


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small node of which each example spoils some files, and puts them back."""
    return grow_node(tmp_path_factory.mktemp("fuzz"), gpus=2, nics=2, gids=4, vfs=1, storage_nic=True).root


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), text=_GARBAGE, count=st.integers(1, 40))
def test_spoiled_files(tree: Path, seed: int, text: str, count: int) -> None:
    files = sorted(path for path in tree.rglob("*") if path.is_file() and not path.is_symlink())
    spoiled = random.Random(seed).sample(files, min(count, len(files)))
    kept = {path: path.read_bytes() for path in spoiled}
    try:
        for path in spoiled:
            path.write_bytes(text.encode())
        answers(probe_host(HostFiles(tree), {}))
    finally:
        for path, content in kept.items():
            path.write_bytes(content)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 30))
def test_missing_files_and_links(tree: Path, seed: int, count: int) -> None:
    entries = sorted(path for path in tree.rglob("*") if path.is_symlink() or path.is_file())
    gone = random.Random(seed).sample(entries, min(count, len(entries)))
    moved = [(path, path.with_name(f"{path.name}.gone")) for path in gone]
    for path, away in moved:
        path.rename(away)
    try:
        answers(probe_host(HostFiles(tree), {}))
    finally:
        for path, away in reversed(moved):
            away.rename(path)


_FACTS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=12,
)
_KNOWN_FACTS = (
    *("addresses", "rlimits", "space", "devices", "libraries", "packages", "missing_libraries", "environ"),
    *("hostname_addresses", "clock", "gpus", "version", "python", "taken_at"),
)


@settings(max_examples=100, deadline=None)
@given(facts=st.dictionaries(st.sampled_from(_KNOWN_FACTS), _FACTS, max_size=6))
def test_facts_of_any_shape(tree: Path, facts: dict[str, object]) -> None:
    place = tree / "pdpanel/facts.json"
    kept = place.read_bytes()
    try:
        place.write_text(json.dumps(facts))
        answers(probe_host(HostFiles(tree), {}))
    finally:
        place.write_bytes(kept)


_NCCL = """<system version="1"><cpu numaid="0" affinity="ffff" arch="x86_64">
<pci busid="ffff:ff:01.0" class="0x060400" link_speed="16 GT/s" link_width="16">
<pci busid="0001:00:00.0" class="0x030200" link_speed="16 GT/s" link_width="16"><gpu dev="0" sm="90" rank="0"/></pci>
<pci busid="0101:00:00.0" class="0x020700"><nic><net name="mlx5_0" speed="400000" port="1" guid="0x12ab"/></nic></pci>
</pci></cpu></system>"""
_HWLOC = """<?xml version="1.0"?><topology version="2.0"><object type="Machine" os_index="0" cpuset="0x3">
<object type="NUMANode" os_index="0" cpuset="0x3" local_memory="1024"/>
<object type="Bridge" bridge_type="0-1" bridge_pci="0000:[00-02]">
<object type="PCIDev" pci_busid="0000:01:00.0" pci_type="0302 [10de:2330] [0000:0000] a1"/>
<object type="PCIDev" pci_busid="0000:02:00.0" pci_type="0207 [15b3:1021] [0000:0000] 00">
<object type="OSDev" name="mlx5_0" osdev_type="3"><info name="Port1State" value="4"/></object></object>
</object></object></topology>"""


@settings(max_examples=200, deadline=None)
@given(
    source=st.sampled_from([_NCCL, _HWLOC]),
    cuts=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 12), st.text(string.printable, max_size=8)), max_size=4),
)
def test_spoiled_topology_files(tmp_path_factory: pytest.TempPathFactory, source: str, cuts: list) -> None:
    text = source
    for place, length, instead in cuts:
        at = int(place * len(text))
        text = text[:at] + instead + text[at + length :]
    file = tmp_path_factory.getbasetemp() / "spoiled.xml"
    file.write_text(text)
    try:
        host = host_of_topology(read_topology_file(file))
    except SourceError:
        return
    answers(host)


@settings(max_examples=100, deadline=None)
@given(content=st.binary(max_size=400))
def test_any_bytes_are_a_host_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any"
    file.write_bytes(content)
    for read in (open_capture, read_topology_file):
        with pytest.raises(SourceError):
            read(file)


@pytest.mark.parametrize("source", [_NCCL, _HWLOC])
def test_the_unspoiled_topology_files_are_read(tmp_path: Path, source: str) -> None:
    file = tmp_path / "topology.xml"
    file.write_text(source)
    document = probe_document(host := host_of_topology(read_topology_file(file)), survey_topology(host))
    assert [path["class"] for path in document["paths"]] == ["PIX" if source is _NCCL else "PHB"]
