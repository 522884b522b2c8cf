"""What reaches the disk: modes, nothing overwritten or left outside unasked, and the same bytes each time."""

from __future__ import annotations

import io
import stat
import zipfile
from pathlib import Path

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.export.exported import ExportedFile
from pdpanel.panel.export.writing import archive, write_archive, write_folder

FILES = (ExportedFile("a.sh", "#!/bin/sh\n", executable=True), ExportedFile("a/conf/ä.json", "{}\n"))


def tree(folder: Path) -> dict[str, tuple[str, int]]:
    return {
        str(path.relative_to(folder)): (path.read_text("utf-8"), stat.S_IMODE(path.stat().st_mode))
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_files_get_their_modes(tmp_path: Path) -> None:
    write_folder(FILES, tmp_path / "new" / "out")
    assert tree(tmp_path / "new" / "out") == {"a.sh": ("#!/bin/sh\n", 0o755), "a/conf/ä.json": ("{}\n", 0o644)}


def test_what_differs_is_not_overwritten_unless_forced(tmp_path: Path) -> None:
    write_folder(FILES, tmp_path)
    write_folder(FILES, tmp_path)
    (tmp_path / "a" / "conf" / "ä.json").write_text("mine")
    (tmp_path / "a.sh").unlink()
    with pytest.raises(ConfigError, match="is there already; add --force"):
        write_folder(FILES, tmp_path)
    assert tree(tmp_path) == {"a/conf/ä.json": ("mine", 0o644)}, "nothing was written"
    write_folder(FILES, tmp_path, force=True)
    assert tree(tmp_path)["a/conf/ä.json"] == ("{}\n", 0o644)


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", "", "a\0b"])
def test_a_path_never_leaves_the_folder(tmp_path: Path, path: str) -> None:
    with pytest.raises(ConfigError, match="leaves the folder"):
        write_folder([ExportedFile(path, "x")], tmp_path / "out", force=True)
    with pytest.raises(ConfigError, match="leaves the folder"):
        archive([ExportedFile(path, "x")])
    assert not list(tmp_path.rglob("x"))


def test_links_are_not_followed(tmp_path: Path) -> None:
    outside, out = tmp_path / "outside", tmp_path / "out"
    outside.mkdir()
    out.mkdir()
    (outside / "kept").write_text("kept")
    (out / "a").symlink_to(outside)
    with pytest.raises(ConfigError, match="leads out of it"):
        write_folder(FILES, out, force=True)
    (out / "a").unlink()
    (out / "a.sh").symlink_to(outside / "kept")
    with pytest.raises(ConfigError, match="is there already"):
        write_folder(FILES, out)
    write_folder(FILES, out, force=True)
    assert (outside / "kept").read_text() == "kept"
    assert not (out / "a.sh").is_symlink()


def test_a_file_in_the_way_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(ConfigError, match="File exists; name a folder"):
        write_folder(FILES, tmp_path / "out")


def test_an_archive_is_the_same_each_time_and_has_modes(tmp_path: Path) -> None:
    data = archive(FILES)
    assert archive(FILES) == data
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        assert opened.testzip() is None
        found = {entry.filename: (entry.external_attr >> 16) & 0o777 for entry in opened.infolist()}
        assert {entry.date_time for entry in opened.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert opened.read("a/conf/ä.json") == b"{}\n"
    assert found == {"a.sh": 0o755, "a/conf/ä.json": 0o644}
    target = tmp_path / "x.zip"
    write_archive(FILES, target)
    write_archive(FILES, target)
    target.write_bytes(b"mine")
    with pytest.raises(ConfigError, match="is there already"):
        write_archive(FILES, target)
    write_archive(FILES, target, force=True)
    assert target.read_bytes() == data
