from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from pdpanel.nic_probe.sources.files import HostFiles

Grow = Callable[[Mapping[str, str]], Path]


def test_reads_text_and_numbers(grow: Grow) -> None:
    files = HostFiles(grow({"sys/a": " 4: ACTIVE \n\n", "sys/lid": "0x3a4\n", "sys/node": "-1\n", "sys/zero": "007\n"}))
    assert files.text("sys/a").value == "4: ACTIVE"
    assert files.integer("sys/lid").value == 0x3A4
    assert files.integer("sys/node").value == -1
    assert files.integer("sys/zero").value == 7
    assert not files.live


@pytest.mark.parametrize(
    ("content", "reason"),
    [("", "is empty"), ("N/A (no PMA)\n", "reads N/A (no PMA)"), ("-> /nowhere", "leads out of the capture")],
)
def test_what_is_not_a_value_has_a_reason(grow: Grow, content: str, reason: str) -> None:
    reading = HostFiles(grow({"sys/x": content})).text("sys/x")
    assert (reading.value, reading.source, reading.reason) == (None, "/sys/x", reason)


def test_a_missing_file_and_a_folder_are_unreadable(grow: Grow) -> None:
    files = HostFiles(grow({"sys/a/b": "1"}))
    assert files.text("sys/c").reason == "does not exist"
    assert not files.text("sys/a").known
    assert not files.names("sys/a/b").known


def test_a_pipe_does_not_hold_the_reader(grow: Grow) -> None:
    root = grow({"sys/a": "1"})
    os.mkfifo(root / "sys" / "pipe")
    assert HostFiles(root).text("sys/pipe").reason == "is not a plain file"


def test_names_come_in_natural_order(grow: Grow) -> None:
    root = grow({f"sys/class/infiniband/{name}/x": "" for name in ("mlx5_10", "mlx5_2", "efa0", "mlx5_2a", ".hidden")})
    assert HostFiles(root).names("sys/class/infiniband").value == ("efa0", "mlx5_2", "mlx5_2a", "mlx5_10")


def test_nothing_outside_the_root_is_read(grow: Grow, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("outside")
    root = grow({"sys/link": "-> ../../secret", "sys/folder": "-> ../.."})
    files = HostFiles(root)
    assert files.text("sys/link").reason == "leads out of the capture"
    assert files.text("sys/folder/secret").reason == "leads out of the capture"
    assert not files.names("sys/folder").known
    assert not files.exists("sys/link")
    assert files.text("../secret").reason == "leads out of the capture"


def test_a_link_to_a_missing_driver_still_names_it(grow: Grow) -> None:
    files = HostFiles(grow({"sys/dev/driver": "-> ../../bus/drivers/mlx5_core", "sys/dev/plain": "x"}))
    assert files.link_name("sys/dev/driver").value == "mlx5_core"
    assert files.link_name("sys/dev/plain").reason == "is not a link"
    assert files.link_name("sys/dev/none").reason == "does not exist"
