"""A dump holds what the probe reads, and nothing that must not leave the host."""

from __future__ import annotations

import io
import json
import os
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from pdpanel.nic_probe.document import probe_document
from pdpanel.nic_probe.dump import gather, write_dump
from pdpanel.nic_probe.host import probe_host
from pdpanel.nic_probe.sources.capture import open_capture
from pdpanel.nic_probe.topology.survey import survey_topology
from simulated_node import grow_node, write_tree

Grow = Callable[[Mapping[str, str]], Path]
SECRET = "s3cret"


def dump(root: Path, **options: object) -> dict[str, tarfile.TarInfo | bytes]:
    """Returns the members of a dump: the bytes of files, the headers of others."""
    stream = io.BytesIO()
    write_dump(stream, root, **options)  # type: ignore[arg-type]
    stream.seek(0)
    with tarfile.open(fileobj=stream, mode="r:gz") as tar:
        members = tar.getmembers()
        found: dict[str, tarfile.TarInfo | bytes] = {}
        for member in members:
            assert member.name not in found, "stored twice"
            content = tar.extractfile(member) if member.isfile() else None
            found[member.name] = member if content is None else content.read()
        return found


def link(member: tarfile.TarInfo | bytes) -> str:
    assert isinstance(member, tarfile.TarInfo) and member.issym()
    return member.linkname


def document(root: Path) -> dict[str, object]:
    host = probe_host(open_capture(root), {})
    return probe_document(host, survey_topology(host))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"link_layer": "InfiniBand", "storage_nic": True, "down": (1,)},
        {"flat": True, "nic_driver": "efa", "link_layer": "Unknown", "gpu_driver": "amdgpu"},
        {"vfs": 2, "nic_driver": "bnxt_en", "gpus_per_switch": 1, "nics_per_switch": 1},
    ],
    ids=["roce", "infiniband", "virtual", "sriov"],
)
def test_a_dump_answers_as_the_host_does(tmp_path: Path, options: dict[str, object]) -> None:
    node = grow_node(tmp_path / "node", gpus=2, nics=2, gids=8, **options)  # type: ignore[arg-type]
    target = tmp_path / "dump.tar.gz"
    summary = write_dump(target, node.root)
    assert " 0 could not be read" in summary
    of_dump, of_host = document(target), document(node.root)
    state = probe_host(open_capture(target), {}).state
    assert state == probe_host(open_capture(node.root), {}).state
    assert len(of_host["gpus"]) == 2  # type: ignore[arg-type]
    for key in of_host:
        assert unmasked(of_dump[key]) == unmasked(of_host[key]), key


@pytest.mark.parametrize(
    "name",
    [
        "procfs-sysfs/fixtures.ttar",
        "hwloc-sysfs/32em64t-2n8c+dax+nvme+mic+dimms.tar.bz2",
        "hwloc-sysfs/nvidiagpunumanodes.tar.bz2",
    ],
)
def test_a_dump_of_a_capture_answers_as_the_capture_does(
    capture: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    root = capture(name)
    write_dump(tmp_path / "dump.tar.gz", root)
    of_dump, of_host = document(tmp_path / "dump.tar.gz"), document(root)
    for key in of_host:
        assert unmasked(of_dump[key]) == unmasked(of_host[key]), key


def unmasked(value: object) -> object:
    """Leaves out what is masked: MAC addresses."""
    if isinstance(value, Mapping):
        return {key: unmasked(item) for key, item in value.items() if key != "mac"}
    return [unmasked(item) for item in value] if isinstance(value, list) else value


def test_a_dump_of_a_dump_is_the_same(tmp_path: Path) -> None:
    node = grow_node(tmp_path / "node", gpus=1, nics=1, gids=4)
    write_dump(tmp_path / "first.tar.gz", node.root)
    with tarfile.open(tmp_path / "first.tar.gz") as tar:
        tar.extractall(tmp_path / "first", filter="tar")
    again = dump(tmp_path / "first")
    once = dump(node.root)
    assert again.keys() == once.keys()
    assert {name: data for name, data in again.items() if isinstance(data, bytes)} == {
        name: data for name, data in once.items() if isinstance(data, bytes)
    }


def test_links_stay_links_and_their_files_are_stored_once(grow: Grow) -> None:
    place = "sys/devices/pci0000:16/0000:16:01.0/0000:18:00.0"
    root = grow(
        {
            f"{place}/infiniband/mlx5_0/fw_ver": "28.1\n",
            f"{place}/infiniband/mlx5_0/device": "-> ../../../0000:18:00.0",
            f"{place}/class": "0x020000\n",
            f"{place}/driver": "-> ../../../../bus/pci/drivers/mlx5_core",
            "sys/devices/pci0000:16/0000:16:01.0/class": "0x060400\n",
            "sys/devices/pci0000:16/0000:16:01.0/max_link_speed": "32.0 GT/s PCIe\n",
            "sys/bus/pci/devices/0000:18:00.0": f"-> ../../../../{place}",
            "sys/bus/pci/devices/0000:16:01.0": "-> ../../../../sys/devices/pci0000:16/0000:16:01.0",
            "sys/class/infiniband/mlx5_0": f"-> ../../../{place}/infiniband/mlx5_0",
        }
    )
    members = dump(root)
    assert link(members["sys/class/infiniband/mlx5_0"]) == f"../../../{place}/infiniband/mlx5_0"
    assert link(members[f"{place}/driver"]).endswith("/mlx5_core")
    assert members[f"{place}/infiniband/mlx5_0/fw_ver"] == b"28.1\n"
    assert members["sys/devices/pci0000:16/0000:16:01.0/max_link_speed"] == b"32.0 GT/s PCIe\n", "the bridge above"


def test_secrets_are_in_no_member(grow: Grow) -> None:
    facts = {"environ": {"HF_TOKEN": SECRET, "https_proxy": f"http://ada:{SECRET}@p:1", "HOME": SECRET}}
    root = grow(
        {
            "proc/cmdline": f"iommu=pt token={SECRET} {SECRET}=1\n",
            "proc/self/environ": f"A={SECRET}\n",
            "proc/1/cmdline": f"server\0--api-key={SECRET}\n",
            "proc/net/tcp": f"  sl  local rem st\n   0: A:1 {SECRET}:2 01 x\n   1: B:1 0:0 0A x\n",
            "proc/net/arp": f"{SECRET}\n",
            "proc/self/mounts": f"//nas/x /x cifs password={SECRET} 0 0\n",
            "proc/cpuinfo": f"Serial: {SECRET}\n",
            "proc/driver/nvidia/gpus/0000:18:00.0/information": f"Serial Number: {SECRET}\nModel: GPU\n",
            "etc/os-release": "PRETTY_NAME=x\n",
            "etc/shadow": f"{SECRET}\n",
            "etc/libibverbs.d/x.driver": "-> ../shadow",
            "run/.containerenv": f"{SECRET}\n",
            "root/.ssh/id_rsa": f"{SECRET}\n",
            "sys/class/net/eth0/address": "-> ../../../../root/.ssh/id_rsa",
            "sys/class/net/eth0/mtu": "1500\n",
            "sys/devices/virtual/dmi/id/product_serial": f"{SECRET}\n",
            "sys/devices/virtual/dmi/id/product_uuid": f"{SECRET}\n",
            "sys/devices/virtual/dmi/id/sys_vendor": "Vendor\n",
            "sys/bus/pci/devices/0000:18:00.0/class": "0x030200\n",
            "sys/bus/pci/devices/0000:18:00.0/serial_number": f"{SECRET}\n",
            "sys/bus/pci/devices/0000:18:00.0/vpd": f"{SECRET}\n",
            "pdpanel/facts.json": json.dumps(facts),
        }
    )
    members = dump(root)
    assert members["proc/cmdline"] == b"iommu=pt"
    assert members["sys/devices/virtual/dmi/id/sys_vendor"] == b"Vendor\n"
    assert [name for name, data in members.items() if isinstance(data, bytes) and SECRET.encode() in data] == []
    kept = json.loads(data if isinstance(data := members["pdpanel/facts.json"], bytes) else b"")
    assert kept["environ"] == {"https_proxy": "http://***@p:1"}
    assert kept["tcp_states"] == {"ESTABLISHED": 1, "LISTEN": 1}


def test_what_cannot_be_read_is_named_with_the_reason(grow: Grow) -> None:
    root = grow({"sys/class/infiniband/mlx5_0/ports/1/state": "4: ACTIVE\n"})
    os.mkfifo(root / "sys/class/infiniband/mlx5_0/ports/1/rate")
    members = dump(root)
    data = members["pdpanel/unreadable.json"]
    assert isinstance(data, bytes)
    assert json.loads(data) == {"sys/class/infiniband/mlx5_0/ports/1/rate": "is not a plain file"}


def test_a_file_that_never_answers_holds_up_no_other(grow: Grow, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file of a test can hang in the kernel, so `os.read` does in its place."""
    root = grow({f"sys/class/infiniband/mlx5_{n}/ports/1/{f}": f"{n}\n" for n in (0, 1) for f in ("lid", "rate")})
    stuck = os.stat(root / "sys/class/infiniband/mlx5_0/ports/1/lid").st_ino
    released = threading.Event()
    real_read = os.read

    def read(descriptor: int, size: int) -> bytes:
        if os.fstat(descriptor).st_ino == stuck:
            released.wait(60)
        return real_read(descriptor, size)

    monkeypatch.setattr(gather, "_STALL_S", 1.0)
    monkeypatch.setattr(os, "read", read)
    try:
        members = dump(root)
    finally:
        released.set()
    assert members["sys/class/infiniband/mlx5_1/ports/1/lid"] == b"1\n"
    assert "sys/class/infiniband/mlx5_0/ports/1/lid" not in members
    data = members["pdpanel/unreadable.json"]
    assert isinstance(data, bytes) and "did not answer in time" in data.decode()


@pytest.mark.parametrize(("limit", "value"), [("_MAX_MEMBERS", 5), ("_MAX_BYTES", 10), ("_LIMIT_S", -1.0)])
def test_a_limit_ends_the_dump_and_is_named(
    grow: Grow, monkeypatch: pytest.MonkeyPatch, limit: str, value: float
) -> None:
    root = grow({f"sys/class/infiniband/mlx5_0/ports/1/gids/{index}": "0000:0000\n" for index in range(50)})
    monkeypatch.setattr(gather, limit, value)
    members = dump(root)
    data = members["pdpanel/unreadable.json"]
    assert isinstance(data, bytes)
    assert list(json.loads(data)) == ["*"]
    assert len(members) < 20


def test_a_long_file_is_cut(grow: Grow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "_MAX_FILE_BYTES", 1 << 16)
    data = dump(grow({"proc/cpuinfo": "x" * 200_000}))["proc/cpuinfo"]
    assert isinstance(data, bytes) and len(data) == 1 << 16


@pytest.mark.parametrize("target", ["../../../../outside", "/outside", "loop", "../../nowhere"])
def test_links_out_of_the_tree_and_loops_are_not_followed(grow: Grow, target: str) -> None:
    root = grow({"sys/class/net/eth0/mtu": "1500\n", "sys/class/net/loop": f"-> {target}"})
    (root.parent / "outside").mkdir()
    (root.parent / "outside" / "mtu").write_text("9\n")
    members = dump(root)
    assert members["sys/class/net/eth0/mtu"] == b"1500\n"
    assert [name for name in members if "outside" in name] == []


def test_facts_that_are_no_facts_are_left_out(grow: Grow) -> None:
    for text in ("[1]", "{", '{"environ": [1]}', "9" * 5000):
        root = grow({"pdpanel/facts.json": text})
        assert "pdpanel/facts.json" in dump(root)


def test_a_target_that_cannot_be_written_raises_and_leaves_nothing(tmp_path: Path) -> None:
    write_tree(tmp_path / "root", {"etc/os-release": "A=1"})
    with pytest.raises(OSError):
        write_dump(tmp_path / "no" / "folder.tar.gz", tmp_path / "root")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["root"]


def test_a_dump_that_breaks_off_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(gather.HostArchive, "add_json", full)
    write_tree(tmp_path / "root", {"etc/os-release": "A=1"})
    with pytest.raises(OSError, match="No space"):
        write_dump(tmp_path / "dump.tar.gz", tmp_path / "root")
    assert not (tmp_path / "dump.tar.gz").exists()


@pytest.fixture
def live(tmp_path: Path) -> Iterator[dict[str, bytes]]:
    target = tmp_path / "live.tar.gz"
    write_dump(target, environ={"HF_TOKEN": SECRET, "MC_X": "1"}, gpus={"libraries": {}})
    with tarfile.open(target) as tar:
        yield {m.name: file.read() for m in tar if (file := tar.extractfile(m) if m.isfile() else None)}


def test_the_live_host_has_its_facts_and_this_process(live: dict[str, bytes]) -> None:
    facts = json.loads(live["pdpanel/facts.json"])
    assert facts["environ"] == {"MC_X": "1"}
    assert facts["gpus"] == {"libraries": {}}
    assert "127.0.0.1/8" in facts["addresses"]["lo"]
    assert b"Max locked memory" in live["proc/self/limits"]
    assert live["proc/sys/kernel/hostname"].strip()
    assert all(SECRET.encode() not in data for data in live.values())
