"""Trees of kernel files that stand for hosts: made by a test, or unpacked from captures of real ones."""

from __future__ import annotations

import functools
import os
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

CAPTURES = Path(__file__).resolve().parents[3] / "shared" / "fixtures" / "hardware"

Grow = Callable[[Mapping[str, str]], Path]


@pytest.fixture
def grow(tmp_path: Path) -> Grow:
    """Writes files below one root and returns it; a text that starts with `-> ` makes a link."""
    root = tmp_path / "host"
    root.mkdir()

    def write(files: Mapping[str, str]) -> Path:
        for name, text in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if text.startswith("-> "):
                path.symlink_to(text[3:])
            else:
                path.write_text(text)
        return root

    return write


@pytest.fixture(scope="session")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Returns the root of one of the captures in shared/fixtures/hardware, unpacked once and read by all."""
    if not CAPTURES.is_dir():
        pytest.skip(f"no hardware captures at {CAPTURES}")

    @functools.cache
    def unpack(name: str) -> Path:
        into = tmp_path_factory.mktemp("capture")
        archive = CAPTURES / name
        if archive.suffix == ".ttar":
            _unpack_ttar(archive.read_text(), into)
        else:
            with tarfile.open(archive) as tar:
                tar.extractall(into, filter="fully_trusted")
        (root,) = into.iterdir()
        return root

    return unpack


def _unpack_ttar(text: str, into: Path) -> None:
    lines = iter(text.split("\n"))
    path = into
    for line in lines:
        key, _, value = line.partition(": ")
        if key == "Path":
            path = into / value
        elif key == "Directory":
            (into / value).mkdir(parents=True, exist_ok=True)
        elif key == "SymlinkTo":
            os.symlink(value, path)
        elif key == "Lines":
            content = "".join(next(lines) + "\n" for _ in range(int(value)))
            if content.endswith("EOF\n") and not content.endswith("\\EOF\n"):
                content = content[:-4]
            content = content.replace("NULLBYTE", "\0").replace("\\\0", "NULLBYTE").replace("\\EOF", "EOF")
            path.write_text(content)
