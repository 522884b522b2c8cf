"""Trees of kernel files that stand for hosts: made by a test, or unpacked from captures of real ones."""

from __future__ import annotations

import functools
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from pdpanel.nic_probe.sources.archive import Limits, Unpacking
from pdpanel.nic_probe.sources.compressed import PlainStream
from pdpanel.nic_probe.sources.memory import MemoryTree
from pdpanel.nic_probe.sources.tree import Kind
from pdpanel.nic_probe.sources.ttar import read_ttar

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
def captures() -> Path:
    """Returns the folder of hardware captures."""
    if not CAPTURES.is_dir():
        pytest.skip(f"no hardware captures at {CAPTURES}")
    return CAPTURES


@pytest.fixture(scope="session")
def capture(captures: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Returns the root of one of the captures in shared/fixtures/hardware, unpacked once and read by all."""

    @functools.cache
    def unpack(name: str) -> Path:
        into = tmp_path_factory.mktemp("capture")
        archive = captures / name
        if archive.suffix == ".ttar":
            unpacking = Unpacking(Limits())
            with archive.open("rb") as file:
                read_ttar(PlainStream(file, 1 << 30), unpacking)
            _write(unpacking.tree, "", into)
        else:
            with tarfile.open(archive) as tar:
                tar.extractall(into, filter="fully_trusted")
        (root,) = into.iterdir()
        return root

    return unpack


def _write(tree: MemoryTree, place: str, into: Path) -> None:
    for name, kind in tree.entries(place):
        inner = f"{place}/{name}".lstrip("/")
        if kind is Kind.FOLDER:
            (into / name).mkdir()
            _write(tree, inner, into / name)
        elif kind is Kind.LINK:
            (into / name).symlink_to(tree.link(inner))
        else:
            (into / name).write_bytes(tree.read(inner, 1 << 30))
