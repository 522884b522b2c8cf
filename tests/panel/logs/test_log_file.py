from __future__ import annotations

import os
from pathlib import Path

import pytest
from pdpanel.engine.errors import ConfigError, NotFoundError
from pdpanel.panel.logs.log_file import open_log


def test_a_link_is_followed_to_the_file_that_it_names(tmp_path: Path) -> None:
    (tmp_path / "real.log").write_text("text")
    (tmp_path / "link.log").symlink_to(tmp_path / "real.log")
    with open_log(tmp_path / "link.log") as file:
        assert file.read(0, 100) == b"text"


@pytest.mark.parametrize("swap", ["file", "folder"])
def test_a_target_that_was_swapped_for_a_link_is_not_served(tmp_path: Path, swap: str) -> None:
    """Whoever owns the folder of an attached log cannot make the panel read another file of the person."""
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "real.log").write_text("text")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "real.log").write_text("secret")
    link = tmp_path / "link.log"
    link.symlink_to(folder / "real.log")
    if swap == "file":
        (folder / "real.log").unlink()
        (folder / "real.log").symlink_to(elsewhere / "real.log")
    else:
        folder.rename(tmp_path / "gone")
        folder.symlink_to(elsewhere)
    with pytest.raises(ConfigError, match=r"is a link now|leads to another file"):
        open_log(link)


def test_what_is_no_plain_file_is_refused_and_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path, Path("/dev/zero")):
        with pytest.raises(ConfigError, match="is not a plain file"):
            open_log(path)


def test_a_missing_file_is_said_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="is not there"):
        open_log(tmp_path / "none.log")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_said_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "closed.log"
    path.write_text("x")
    path.chmod(0)
    with pytest.raises(ConfigError, match="cannot be read"):
        open_log(path)
