"""Device nodes and room, from facts and from the list of mounts."""

from __future__ import annotations

from typing import Any

import pytest
from pdpanel.nic_probe.sources.files import HostFiles
from pdpanel.nic_probe.sources.memory import MemoryTree
from pdpanel.nic_probe.state.facts import Facts
from pdpanel.nic_probe.state.places import DeviceNode, Space, probe_devices, probe_space


def _space(mounts: str = "", **facts: Any) -> Any:
    return probe_space(HostFiles(MemoryTree({"proc/self/mounts": mounts.encode()})), Facts(facts)).value


def test_device_nodes() -> None:
    nodes = {"a": {"kind": "character", "readable": True, "writable": False}, "b": {"kind": "absent"}, "c": 1, "d": {}}
    assert probe_devices(Facts({"devices": nodes})).value == {
        "a": DeviceNode("character", True, False),
        "b": DeviceNode("absent", False, False),
    }
    assert probe_devices(Facts({"devices": []})).value is None


def test_room_by_path() -> None:
    facts = {"/dev/shm": {"total_bytes": 8, "free_bytes": 2}, "/tmp": {"total_bytes": 9}, "/x": {"total_bytes": -1}}
    assert _space(space=facts) == {"/dev/shm": Space(8, 2), "/tmp": Space(9, None)}


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ("rw,nosuid,size=65536k,inode64", 64 << 20),
        ("rw,size=1g", 1 << 30),
        ("rw,size=4096", 4096),
        ("rw,size=50%", None),
        ("rw,size=" + "9" * 30, None),
        ("rw", None),
    ],
)
def test_the_size_of_shared_memory_from_the_mounts(options: str, size: int | None) -> None:
    mounts = f"proc /proc proc rw 0 0\nshm /dev/shm tmpfs {options} 0 0\n"
    known = _space(mounts)
    assert known == (None if size is None else {"/dev/shm": Space(size, None)})


def test_facts_come_before_the_mounts() -> None:
    mounts = "shm /dev/shm tmpfs rw,size=64k 0 0\n"
    assert _space(mounts, space={"/dev/shm": {"total_bytes": 8, "free_bytes": 2}}) == {"/dev/shm": Space(8, 2)}
    assert _space(mounts, space={"/tmp": {"total_bytes": 8}}) == {
        "/tmp": Space(8, None),
        "/dev/shm": Space(65536, None),
    }
