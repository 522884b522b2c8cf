from __future__ import annotations

import pytest
from pdpanel.nic_probe.sources.archive import ArchiveError, Limits, Unpacking


def test_names_lose_their_dots() -> None:
    unpacking = Unpacking(Limits())
    unpacking.file("./sys//a/../b", b"1")
    unpacking.folder("sys/.")
    unpacking.folder(".")
    unpacking.link("sys/l", "../../..")
    assert unpacking.tree.read("sys/b", 9) == b"1"
    assert unpacking.tree.link("sys/l") == "../../.."


@pytest.mark.parametrize("name", ["..", "../a", "a/../../b", "/a", "//a", "a/" * 9, "a" * 256])
def test_names_that_no_capture_has_are_refused(name: str) -> None:
    unpacking = Unpacking(Limits(depth=8))
    unpacking.file("b", b"")
    for take in (
        lambda: unpacking.file(name, b""),
        lambda: unpacking.folder(name),
        lambda: unpacking.link(name, "b"),
        lambda: unpacking.hard_link(name, "b"),
        lambda: unpacking.hard_link("c", name),
        lambda: unpacking.passed_over(name),
    ):
        with pytest.raises(ArchiveError, match="holds the"):
            take()
    assert [name for name, _ in unpacking.tree.entries("")] == ["b"]


def test_every_member_counts() -> None:
    unpacking = Unpacking(Limits(members=3))
    unpacking.file("a", b"")
    unpacking.file("a", b"")
    unpacking.passed_over("a")
    with pytest.raises(ArchiveError, match="more than 3 members"):
        unpacking.folder("b")
