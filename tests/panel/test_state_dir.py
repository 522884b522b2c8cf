from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.panel import state_dir
from pdpanel.panel.rundir import RunDir
from pdpanel.panel.state_dir import STATE_VERSION, check_state_dir, claim_state_dir, on_full_disk

from .conftest import FakeRuns


def test_a_new_directory_is_for_its_owner_and_says_its_version(tmp_path: Path) -> None:
    path = tmp_path / "a" / "state"
    check_state_dir(path)
    assert not path.exists()
    claim_state_dir(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert [entry.name for entry in path.iterdir()] == ["version"]
    assert int((path / "version").read_text()) == STATE_VERSION
    claim_state_dir(path)


def test_one_without_a_number_is_from_an_older_version_and_is_taken(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    claim_state_dir(tmp_path)
    assert (tmp_path / "version").exists()


@pytest.mark.parametrize("use", [check_state_dir, claim_state_dir])
def test_one_from_a_newer_version_is_refused_with_both_numbers(tmp_path: Path, use: object) -> None:
    assert callable(use)
    (tmp_path / "version").write_text(f"{STATE_VERSION + 6}\n")
    with pytest.raises(
        ConfigError, match=rf"its version is {STATE_VERSION + 6}, and this pdpanel knows {STATE_VERSION};"
    ):
        use(tmp_path)
    assert (tmp_path / "version").read_text() == f"{STATE_VERSION + 6}\n"


@pytest.mark.parametrize("content", [b"", b"one", b"-1", b"\xff" * 500, "٣".encode()])
def test_a_number_that_is_none_is_said(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "version").write_bytes(content)
    with pytest.raises(ConfigError, match="holds no number"):
        check_state_dir(tmp_path)


@pytest.mark.parametrize("where", ["/proc/pdpanel", "/dev/null/state"])
def test_where_nothing_can_be_made_is_said_with_what_to_do(where: str) -> None:
    with pytest.raises(ConfigError, match=r"cannot be (read|written): .*name another with --state-dir"):
        claim_state_dir(Path(where))


def test_a_read_only_directory_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the kernel answers on a file system that is mounted read-only, also to root."""
    monkeypatch.setattr(state_dir.os, "access", lambda path, mode: not mode & os.W_OK)
    with pytest.raises(ConfigError, match="read-only for this user; make it usable"):
        claim_state_dir(tmp_path)
    check_state_dir(tmp_path)


def test_a_full_disk_is_a_sentence_and_another_error_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"takes no new run: No space left.*`pdpanel prune`"), on_full_disk(tmp_path):
        with open("/dev/full", "w") as file:
            file.write("x")
    with pytest.raises(FileNotFoundError), on_full_disk(tmp_path):
        (tmp_path / "missing").read_text()


def test_a_start_on_a_full_disk_is_refused_with_a_sentence(
    tmp_path: Path, fake: FakeRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: RunDir) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(RunDir, "create", full)
    with pytest.raises(ConfigError, match="takes no new run: No space left on device"):
        fake.start()
    assert fake.runs.list() == []
