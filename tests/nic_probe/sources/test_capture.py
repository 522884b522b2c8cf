from __future__ import annotations

import bz2
import gzip
import lzma
import os
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from archives import make_tar
from hypothesis import given, settings
from hypothesis import strategies as st
from pdpanel.nic_probe.errors import SourceError
from pdpanel.nic_probe.sources.archive import Limits
from pdpanel.nic_probe.sources.capture import open_capture

Grow = Callable[[Mapping[str, str]], Path]

FILES: list[tuple[str, bytes | str | None]] = [
    ("sys/class/infiniband/mlx5_0", "../../devices/pci0000:16/0000:17:00.0/infiniband/mlx5_0"),
    ("sys/devices/pci0000:16/0000:17:00.0/infiniband/mlx5_0/fw_ver", b"28.39.1002\n"),
    ("proc/version", b"Linux version 6.8\n"),
]
TTAR = """# Archive created by ttar -c -f x.ttar host
Directory: host
Mode: 755
# ttar - - -
Path: host/sys/class/infiniband/mlx5_0
SymlinkTo: ../../devices/mlx5_0
# ttar - - -
Path: host/sys/devices/mlx5_0/fw_ver
Lines: 1
28.39.1002
Mode: 444
# ttar - - -
"""
FIRMWARE = "sys/class/infiniband/mlx5_0/fw_ver"


def leading(files: list[tuple[str, bytes | str | None]], folder: str) -> list[tuple[str, bytes | str | None]]:
    return [(f"{folder}/{name}", content) for name, content in files]


def save(tmp_path: Path, content: bytes, name: str = "capture") -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


def refusal(path: Path, limits: Limits | None = None) -> str:
    with pytest.raises(SourceError) as raised:
        open_capture(path, limits)
    assert raised.value.field == "--root"
    assert str(raised.value).startswith(f"--root = {str(path)!r} ")
    return str(raised.value)


@pytest.mark.parametrize("folder", ["", "node7"])
def test_a_directory_is_opened_with_and_without_a_leading_folder(grow: Grow, folder: str) -> None:
    prefix = f"{folder}/" if folder else ""
    root = grow({f"{prefix}sys/class/net/eth0/mtu": "9000\n", f"{prefix}proc/version": "x"})
    files = open_capture(root)
    assert files.integer("sys/class/net/eth0/mtu").value == 9000
    assert not files.live


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("name", ["capture", "capture.txt", "capture.tar.zst"])
@pytest.mark.parametrize("folder", ["", ".", "node7", "./node7"])
def test_an_archive_is_known_by_its_content(
    tmp_path: Path, pack: Callable[[bytes], bytes], name: str, folder: str
) -> None:
    content = make_tar(leading(FILES, folder) if folder else FILES)
    files = open_capture(save(tmp_path, pack(content), name))
    assert files.text(FIRMWARE).value == "28.39.1002"
    assert files.text("proc/version").value == "Linux version 6.8"
    assert not files.live


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_ttar_file_is_opened(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    assert open_capture(save(tmp_path, pack(TTAR.encode()))).text(FIRMWARE).value == "28.39.1002"


def test_nothing_is_written(tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    path = save(tmp_path, make_tar(FILES))
    open_capture(path)
    assert sorted(tmp_path.rglob("*")) == [*before, path]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty"),
        (b"\0", "is too short"),
        (b"x" * 2000, "is no archive"),
        (b"\0" * 10240, "holds nothing like a host"),
        (b"<?xml version='1.0'?><topology/>" + b" " * 2000, "give a topology file with --topology instead"),
        (b"PK\x03\x04" + b"\0" * 2000, "compressed with ZIP"),
        (b"\x28\xb5\x2f\xfd" + b"\0" * 2000, "compressed with Zstandard"),
        (gzip.compress(b"x" * 2000, mtime=0), "is no archive"),
        (gzip.compress(b"", mtime=0), "is empty"),
        (b"\x1f\x8b" + b"x" * 2000, "cannot be unpacked"),
        (b"BZh9" + b"x" * 2000, "cannot be unpacked"),
        (b"\xfd7zXZ\x00" + b"x" * 2000, "cannot be unpacked"),
        (make_tar([("etc/passwd", b"x")]), "holds no sys/"),
        (make_tar([("class/net", None), ("devices/x", b"")]), "give the directory above it"),
        (make_tar([("a/sys/x", b""), ("b/sys/x", b"")]), "holds 2 hosts ('a', 'b')"),
        (make_tar([("a/b/sys/x", b"")]), "holds no sys/"),
        (make_tar([("sys", "/sys")]), "holds nothing like a host"),
        (make_tar([("sys", b"a file")]), "holds nothing like a host"),
    ],
)
def test_what_is_no_capture_is_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    assert problem in refusal(save(tmp_path, content))


def test_a_path_that_is_no_capture_is_refused(grow: Grow, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").mkdir()
    assert "does not exist" in refusal(tmp_path / "nothing")
    assert "is neither a directory nor a plain file" in refusal(tmp_path / "pipe")
    assert "is neither a directory nor a plain file" in refusal(Path("/dev/null"))
    assert "holds nothing like a host" in refusal(tmp_path / "empty")
    assert "holds no sys/" in refusal(grow({"proc/version": "x"}))
    assert "give the directory above it" in refusal(grow({"proc/x": "", "class/net/x": "", "devices/x": ""}))
    assert "cannot be read" in refusal(Path("a\0b"))


@pytest.mark.parametrize(
    ("members", "kinds"),
    [
        ([("../evil", b"x")], {}),
        ([("sys/a/../../../evil", b"x")], {}),
        ([("/etc/evil", b"x")], {}),
        ([("sys/a", b"x"), ("..", None)], {}),
        ([("sys/a", b"x"), ("sys/evil", "../../etc/passwd")], {"sys/evil": tarfile.LNKTYPE}),
        ([("sys/a", b"x"), ("sys/evil", "/etc/passwd")], {"sys/evil": tarfile.LNKTYPE}),
        ([("sys/a", b"x"), ("../evil", None)], {"../evil": tarfile.FIFOTYPE}),
        ([("sys/" + "evil/" * 200, None)], {}),
        ([("sys/" + "evil" * 100, b"")], {}),
    ],
)
def test_a_hostile_member_is_refused_by_name(
    tmp_path: Path, members: list[tuple[str, bytes | str | None]], kinds: dict[str, bytes]
) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    message = refusal(save(inner, make_tar(members, kinds=kinds)))
    assert "evil" in message or "'..'" in message
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["capture", "inner"]


def test_links_in_an_archive_never_leave_it(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("outside")
    members: list[tuple[str, bytes | str | None]] = [
        ("sys/up", "../../../../secret"),
        ("sys/absolute", f"{tmp_path}/secret"),
        ("sys/folder", "/"),
        # A later member below a link makes a folder of it instead of going through it.
        ("sys/through", "/sys"),
        ("sys/through/a", b"1"),
        ("sys/hard", "sys/through/a"),
    ]
    files = open_capture(save(tmp_path, make_tar(members, kinds={"sys/hard": tarfile.LNKTYPE})))
    assert files.text("sys/up").reason == "does not exist"
    assert files.text("sys/absolute").reason == "does not exist"
    assert files.names("sys/folder").value == ("sys",)
    assert files.text("sys/a").reason == "does not exist"
    assert files.integer("sys/through/a").value == 1
    assert files.integer("sys/hard").value == 1


def test_devices_and_pipes_are_passed_over(tmp_path: Path) -> None:
    members: list[tuple[str, bytes | str | None]] = [("sys/a", b"1"), ("sys/tape", None), ("sys/pipe", None)]
    kinds = {"sys/tape": tarfile.CHRTYPE, "sys/pipe": tarfile.FIFOTYPE}
    assert open_capture(save(tmp_path, make_tar(members, kinds=kinds))).names("sys").value == ("a",)


def test_too_much_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path, gzip.compress(make_tar([(f"sys/{n}", b"x" * 5000) for n in range(50)])))
    assert "more than 20 members" in refusal(path, Limits(members=20))
    assert "holds more than 0 MiB" in refusal(path, Limits(total_bytes=100_000))
    assert "deeper" in refusal(path, Limits(depth=1))
    files = open_capture(path, Limits(file_bytes=10))
    assert files.text("sys/7").value == "x" * 10


@pytest.mark.parametrize("folder", ["sys/class/net", "sys/class/infiniband", "sys/bus/pci/devices"])
def test_more_devices_than_a_host_has_are_refused_before_each_is_read(tmp_path: Path, grow: Grow, folder: str) -> None:
    """A hundred thousand interfaces of one file each fit in a small archive, and take minutes to read."""
    path = save(tmp_path, gzip.compress(make_tar([(f"{folder}/device{number}/x", b"") for number in range(9)])))
    problem = f"lists 9 devices in {folder}, more than any host has"
    assert problem in refusal(path, Limits(devices=8))
    assert problem in refusal(grow({f"{folder}/device{number}/x": "" for number in range(9)}), Limits(devices=8))
    assert len(open_capture(path, Limits(devices=9)).names(folder).otherwise(())) == 9


@settings(deadline=None)
@given(st.data())
def test_damage_never_makes_it_raise_anything_else(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    pack = data.draw(st.sampled_from([bytes, gzip.compress, bz2.compress, lzma.compress]))
    plain = data.draw(st.sampled_from([make_tar(FILES), TTAR.encode()]))
    content = bytearray(pack(plain))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place : place + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=6))
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(bytes(content))
    try:
        files = open_capture(path)
    except SourceError:
        return
    files.text(FIRMWARE)
    files.names("sys")


class TestRealCaptures:
    def test_a_server_with_an_hca(self, captures: Path) -> None:
        files = open_capture(captures / "hwloc-sysfs" / "32em64t-2n8c+dax+nvme+mic+dimms.tar.bz2")
        assert files.names("sys/class/infiniband").value == ("mlx4_0", "scif0")
        assert files.target("sys/class/infiniband/mlx4_0/device").value == (
            "sys/devices/pci0000:80/0000:80:02.2/0000:82:00.0"
        )
        assert not files.exists("sys/class/infiniband/scif0")
        gids = files.texts("sys/class/infiniband/mlx4_0/ports/1/gids")
        assert list(gids) == [str(index) for index in range(128)]
        assert gids["0"].value == "fe80:0000:0000:0000:0002:c903:00f9:bfa1"

    def test_a_server_with_gpu_memory_nodes(self, captures: Path) -> None:
        files = open_capture(captures / "hwloc-sysfs" / "nvidiagpunumanodes.tar.bz2")
        assert len(files.names("proc/driver/nvidia/gpus").otherwise(())) == 6
        assert files.text("proc/driver/nvidia/gpus/0004:05:00.0/numa_status").otherwise("").startswith("Node")

    def test_a_text_archive(self, captures: Path) -> None:
        files = open_capture(captures / "procfs-sysfs" / "fixtures.ttar")
        assert files.names("sys/class/infiniband").value == ("hfi1_0", "mlx4_0", "mlx5_0")
        counters = files.texts("sys/class/infiniband/hfi1_0/ports/1/counters")
        assert int(counters["port_rcv_data"].otherwise("0")) * 4 == 1380366808104
        assert files.text("sys/class/infiniband/mlx5_0/node_guid").value == "0a7f:bc12:45ef:d23b"
