from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from pdpanel.nic_probe.sources.files import HostFiles
from pdpanel.nic_probe.sources.memory import Link, MemoryTree

Grow = Callable[[Mapping[str, str]], Path]


def test_reads_text_and_numbers(grow: Grow) -> None:
    files = HostFiles(grow({"sys/a": " 4: ACTIVE \n\n", "sys/lid": "0x3a4\n", "sys/node": "-1\n", "sys/zero": "007\n"}))
    assert files.text("sys/a").value == "4: ACTIVE"
    assert files.integer("sys/lid").value == 0x3A4
    assert files.integer("sys/node").value == -1
    assert files.integer("sys/zero").value == 7
    assert not files.live


@pytest.mark.parametrize("text", ["1_000", "0x", "twelve", "1 2", "٣", "--1", "9" * 5000])
def test_what_is_no_number_is_unreadable(grow: Grow, text: str) -> None:
    assert not HostFiles(grow({"sys/x": text})).integer("sys/x").known


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "is empty"),
        ("N/A (no PMA)\n", "reads N/A (no PMA)"),
        ("-> /nowhere", "does not exist"),
        ("-> x", "is in a loop of links"),
        ("-> .", "is not a plain file"),
    ],
)
def test_what_is_not_a_value_has_a_reason(grow: Grow, content: str, reason: str) -> None:
    reading = HostFiles(grow({"sys/x": content})).text("sys/x")
    assert (reading.value, reading.source, reading.reason) == (None, "/sys/x", reason)


def test_a_missing_file_and_a_folder_are_unreadable(grow: Grow) -> None:
    files = HostFiles(grow({"sys/a/b": "1"}))
    assert files.text("sys/c").reason == "does not exist"
    assert files.text("sys/a").reason == "is not a plain file"
    assert files.text("sys/a/b/c").reason == "not a directory"
    assert not files.names("sys/a/b").known


def test_a_pipe_does_not_hold_the_reader(grow: Grow) -> None:
    root = grow({"sys/a": "1"})
    os.mkfifo(root / "sys" / "pipe")
    files = HostFiles(root)
    assert files.text("sys/pipe").reason == "is not a plain file"
    assert files.bytes_of("sys/pipe", 10).reason == "is not a plain file"
    assert list(files.texts("sys")) == ["a"]
    assert files.texts("sys", only=["pipe"])["pipe"].reason == "is not a plain file"
    assert not files.is_plain("sys/pipe")


def test_a_device_node_of_the_live_host_is_not_opened() -> None:
    assert HostFiles().text("dev/zero").reason == "is not a plain file"


def test_names_come_in_natural_order(grow: Grow) -> None:
    root = grow({f"sys/class/infiniband/{name}/x": "" for name in ("mlx5_10", "mlx5_2", "efa0", "mlx5_2a", ".hidden")})
    assert HostFiles(root).names("sys/class/infiniband").value == ("efa0", "mlx5_2", "mlx5_2a", "mlx5_10")


def test_names_that_cannot_be_printed_are_left_out(grow: Grow) -> None:
    root = grow({"sys/eth0/x": "1", "sys/\x1b[2Jeth1/x": "1"})
    os.mkdir(os.fsencode(root / "sys") + b"/\xff")
    assert HostFiles(root).names("sys").value == ("eth0",)


def test_links_are_followed_as_in_a_chroot(grow: Grow, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("outside")
    root = grow(
        {
            "sys/real/value": "inside",
            "secret": "of the capture",
            "sys/absolute": "-> /sys/real",
            "sys/up": "-> ../../../../secret",
            "sys/folder": "-> ../../..",
            "sys/out": f"-> {tmp_path}/secret",
        }
    )
    files = HostFiles(root)
    assert files.text("sys/absolute/value").value == "inside"
    assert files.target("sys/absolute/value").value == "sys/real/value"
    assert files.text("sys/up").value == "of the capture"
    assert files.text("sys/folder/secret").value == "of the capture"
    assert files.text("sys/out").reason == "does not exist"
    assert files.text("../secret").value == "of the capture"
    assert files.text("sys/folder/../../../secret").value == "of the capture"
    assert not files.exists("sys/out")


def test_loops_of_links_end_with_a_reason(grow: Grow) -> None:
    root = grow({"sys/a": "-> b", "sys/b": "-> a/x", "sys/self": "-> self", "sys/deep/x": "-> ../deep"})
    files = HostFiles(root)
    for path in ("sys/a", "sys/self", "sys/a/y"):
        assert files.text(path).reason == "is in a loop of links"
        assert files.target(path).reason == "is in a loop of links"
        assert not files.exists(path)
    assert files.names("sys/deep" + "/x" * 30).value == ("x",)
    assert files.names("sys/deep" + "/x" * 50).reason == "is in a loop of links"


def test_a_link_to_a_missing_driver_still_names_it(grow: Grow) -> None:
    files = HostFiles(grow({"sys/dev/driver": "-> ../../bus/drivers/mlx5_core/", "sys/dev/plain": "x"}))
    assert files.link_name("sys/dev/driver").value == "mlx5_core"
    assert files.link_name("sys/dev/plain").reason == "is not a link"
    assert files.link_name("sys/dev/none").reason == "does not exist"


def test_texts_reads_a_whole_folder_as_text_reads_each_file(grow: Grow) -> None:
    root = grow(
        {f"sys/gids/{index}": f"gid {index}\n" for index in (10, 9, 0)}
        | {"sys/gids/empty": "", "sys/gids/inner/x": "1", "sys/gids/link": "-> 9", "sys/gids/dead": "-> nowhere"}
        | {"sys/table": "-> gids"}
    )
    files = HostFiles(root)
    for folder in ("sys/gids", "sys/table"):
        texts = files.texts(folder)
        assert list(texts) == ["0", "9", "10", "empty", "link"]
        assert texts == {name: files.text(f"{folder}/{name}") for name in texts}
    assert files.texts("sys/gids", may_be_empty=True)["empty"].value == ""


def test_texts_of_some_names_has_them_all(grow: Grow) -> None:
    files = HostFiles(grow({"sys/a": "1", "sys/b": "2", "sys/c": "3"}))
    texts = files.texts("sys", only=["c", "missing", "a"])
    assert [(name, text.value) for name, text in texts.items()] == [("c", "3"), ("missing", None), ("a", "1")]
    assert files.texts("nowhere", only=["a"])["a"].reason == "does not exist"


def test_texts_of_what_is_no_folder_is_empty(grow: Grow) -> None:
    files = HostFiles(grow({"sys/a": "1"}))
    assert files.texts("sys/a") == {}
    assert files.texts("nowhere") == {}


def test_a_huge_file_is_cut(grow: Grow) -> None:
    root = grow({"sys/a": "x"})
    (root / "sys" / "huge").write_bytes(b"x" * (5 << 20))
    files = HostFiles(root)
    assert len(files.text("sys/huge").otherwise("")) == 4 << 20
    assert len(files.texts("sys")["huge"].otherwise("")) == 4 << 20


def test_bytes_that_are_no_text_are_read_all_the_same(grow: Grow) -> None:
    root = grow({"sys/a": "x"})
    (root / "sys" / "vpd").write_bytes(b"\x82\x00\xff ConnectX\0")
    files = HostFiles(root)
    assert files.bytes_of("sys/vpd", 4096).value == b"\x82\x00\xff ConnectX\0"
    assert files.bytes_of("sys/vpd", 2).value == b"\x82\x00"
    assert files.text("sys/vpd").value == "\ufffd\0\ufffd ConnectX"
    assert files.bytes_of("sys/none", 2).reason == "does not exist"


def test_a_file_of_another_user_is_unreadable(grow: Grow, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is put in at os.open, since a test may run as root, who may read everything."""
    files = HostFiles(grow({"sys/a": "1"}))
    real = os.open

    def refuse(path: str | bytes, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if os.fsdecode(path).endswith("a"):
            raise PermissionError(13, "Permission denied")
        return real(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", refuse)
    assert files.text("sys/a").reason == "permission denied"
    assert files.texts("sys")["a"].reason == "permission denied"


@pytest.mark.parametrize(
    "path", ["sys/\0", "sys/\ud800", "/", "", "..", "sys/" + "a/" * 3000, "sys/" + "a" * 300, "//sys//a"]
)
def test_no_path_makes_a_method_raise(grow: Grow, path: str) -> None:
    for files in (HostFiles(grow({"sys/a": "1"})), HostFiles(MemoryTree({"sys/a": b"1"})), HostFiles()):
        files.text(path)
        files.texts(path)
        files.texts(path, only=["a", "\0"])
        files.integer(path)
        files.bytes_of(path, 10)
        files.names(path)
        files.target(path)
        files.link_name(path)
        assert files.is_plain(path) in (True, False)
        assert files.exists(path) in (True, False)


def test_files_of_proc_are_read_to_their_end() -> None:
    files = HostFiles()
    assert files.live
    # The kernel hands this one out in pieces of a few kilobytes.
    assert files.text("proc/self/smaps").otherwise("").count("VmFlags") > 20
    assert files.target("proc/self/status").value == f"proc/{os.getpid()}/status"
    assert set(files.texts("proc/self/net/stat")) <= set(files.names("proc/self/net/stat").otherwise(()))


def test_facts_of_a_capture_are_those_that_were_put_into_it(grow: Grow) -> None:
    root = grow({"pdpanel/facts.json": json.dumps({"version": 1, "packages": {"torch": "2.9"}})})
    assert HostFiles(root, facts=lambda: {"version": 2}).facts() == {"version": 1, "packages": {"torch": "2.9"}}


@pytest.mark.parametrize(
    "text", ["", "[1]", "nul", "1", '"x"', "[" * 100_000, "{" + "9" * 10, '{"a": ' + "9" * 5000 + "}"]
)
def test_facts_that_are_no_object_are_none(grow: Grow, text: str) -> None:
    assert HostFiles(grow({"pdpanel/facts.json": text})).facts() == {}


def test_facts_of_the_live_host_are_collected_once() -> None:
    calls: list[int] = []

    def collect() -> Mapping[str, int]:
        calls.append(1)
        return {"version": 1}

    files = HostFiles(facts=collect)
    assert (files.facts(), files.facts()) == ({"version": 1}, {"version": 1})
    assert calls == [1]
    assert HostFiles().facts() == {}


def test_a_tree_in_memory_is_read_like_a_directory() -> None:
    files = HostFiles(MemoryTree({"sys/a/x": b"7\n", "sys/b": Link("a"), "sys/c": Link("/sys/b/x"), "sys/e": None}))
    assert files.integer("sys/b/x").value == 7
    assert files.integer("sys/c").value == 7
    assert files.names("sys").value == ("a", "b", "c", "e")
    assert not files.live
