from __future__ import annotations

import pytest
from pdpanel.nic_probe.sources.memory import Link, MemoryTree
from pdpanel.nic_probe.sources.tree import Kind


def test_folders_above_a_file_come_by_themselves() -> None:
    tree = MemoryTree({"sys/class/x": b"1", "sys/empty": None})
    assert tree.kind("sys/class") is Kind.FOLDER
    assert tree.kind("") is Kind.FOLDER
    assert tree.entries("sys") == [("class", Kind.FOLDER), ("empty", Kind.FOLDER)]


def test_what_comes_later_replaces_what_was_there() -> None:
    tree = MemoryTree({"a": b"1", "b": Link("/etc"), "c/x": b"2"})
    tree.plant("a", b"3")
    tree.plant("b/passwd", b"4")
    tree.plant("c", None)
    assert tree.read("a", 9) == b"3"
    assert tree.read("b/passwd", 9) == b"4"
    assert tree.read("c/x", 9) == b"2"


def test_a_tree_below_a_folder_is_a_tree() -> None:
    tree = MemoryTree({"host/sys/a": b"1", "x": b""})
    assert tree.below("host").read("sys/a", 9) == b"1"
    with pytest.raises(NotADirectoryError):
        tree.below("x")


def test_a_copy_has_the_content_of_its_origin() -> None:
    tree = MemoryTree({"a": b"1", "l": Link("a"), "f/x": b""})
    assert tree.copy("b", "a")
    assert tree.copy("m", "l")
    assert not tree.copy("c", "nothing")
    assert not tree.copy("g", "f")
    assert (tree.read("b", 9), tree.link("m")) == (b"1", "a")


def test_every_method_raises_what_the_kernel_would() -> None:
    tree = MemoryTree({"a": b"1", "f/x": b"", "l": Link("a")})
    for method, place, error in (
        (tree.kind, "none", FileNotFoundError),
        (tree.kind, "a/x", NotADirectoryError),
        (tree.entries, "a", NotADirectoryError),
        (tree.link, "a", OSError),
    ):
        with pytest.raises(error):
            method(place)
    with pytest.raises(IsADirectoryError):
        tree.read("f", 9)
    assert isinstance(tree.read_each("f", ["y"], 9)["y"], FileNotFoundError)
