from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.app.install import install, own_command, remove


def test_what_was_written_is_what_is_removed(tmp_path: Path) -> None:
    other = tmp_path / "applications" / "other.desktop"
    other.parent.mkdir()
    other.touch()
    written, complaints = install(tmp_path, [*own_command(), "--app"])
    assert complaints == "" and written[0] == tmp_path / "applications" / "pdpanel.desktop"
    assert install(tmp_path, [*own_command(), "--app"])[0] == written, "a second time writes the same"
    assert sorted(remove(tmp_path)) == sorted(written)
    assert remove(tmp_path) == []
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [other]


def test_icons_have_the_size_of_their_folder(tmp_path: Path) -> None:
    written, _ = install(tmp_path, ["/p"])
    pictures = [path for path in written if path.suffix == ".png"]
    assert len(pictures) == 3
    for path in pictures:
        width, height = struct.unpack(">II", path.read_bytes()[16:24])
        assert f"{width}x{height}" == path.parent.parent.name


def test_a_file_in_the_way_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "icons").touch()
    with pytest.raises(ConfigError, match="XDG_DATA_HOME"):
        install(tmp_path, ["/p"])


@pytest.mark.skipif(shutil.which("desktop-file-validate") is None, reason="desktop-file-validate is not installed")
def test_the_validator_is_content(tmp_path: Path) -> None:
    written, _ = install(tmp_path, ["/a b/pdpanel", "--state-dir", "$x", "--app"])
    assert subprocess.run(["desktop-file-validate", written[0]], check=False).returncode == 0


def test_the_command_keeps_the_folders_that_were_named(tmp_path: Path) -> None:
    def pdpanel(*arguments: str) -> str:
        return subprocess.run(
            [sys.executable, "-m", "pdpanel.panel.cli", *arguments],
            env=os.environ | {"XDG_DATA_HOME": str(tmp_path / "data")},
            capture_output=True,
            text=True,
            timeout=50,
            check=True,
        ).stdout

    said = pdpanel("--state-dir", str(tmp_path / "my state"), "app", "install")
    entry = tmp_path / "data" / "applications" / "pdpanel.desktop"
    assert f"wrote {entry}" in said
    line = next(line for line in entry.read_text().splitlines() if line.startswith("Exec="))
    assert line.endswith(f'--state-dir "{tmp_path / "my state"}" --app')
    assert f"removed {entry}" in pdpanel("app", "remove")
    assert "there is no menu entry" in pdpanel("app", "remove")
