"""A tree in a directory and the same tree in memory give the same answers, whatever is in it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from pdpanel.nic_probe.sources.files import HostFiles
from pdpanel.nic_probe.sources.memory import Link, MemoryTree

NAMES = st.sampled_from(["a", "b", "c", "sys", "0", "1", "10", "07", "mlx5_0", "mlx5_10", ".x"])
PARTS = st.sampled_from(["a", "b", "c", "sys", "0", "1", "..", ".", "", "mlx5_0"])
PATHS = st.lists(PARTS, max_size=6).map("/".join)
TARGETS = st.builds(lambda absolute, path: ("/" if absolute else "") + path or ".", st.booleans(), PATHS)
CONTENTS = st.one_of(
    st.none(),
    st.binary(max_size=12),
    st.sampled_from([b"N/A (no PMA)\n", b"12\n", b"0x10", b"\n", b"\xff\xfe", b"4: ACTIVE\n"]),
    TARGETS.map(Link),
)
TREES = st.dictionaries(st.lists(NAMES, min_size=1, max_size=4).map("/".join), CONTENTS, max_size=14)


def answers(files: HostFiles, path: str) -> list[object]:
    return [
        files.text(path),
        files.texts(path),
        files.integer(path),
        files.names(path),
        files.target(path),
        files.link_name(path),
        files.is_plain(path),
        files.exists(path),
        files.bytes_of(path, 5),
    ]


def write(tree: MemoryTree, place: str, into: Path) -> None:
    for name, _ in tree.entries(place):
        inner = f"{place}/{name}".lstrip("/")
        try:
            (into / name).symlink_to(tree.link(inner))
            continue
        except OSError:
            pass
        try:
            (into / name).write_bytes(tree.read(inner, 100))
        except OSError:
            (into / name).mkdir()
            write(tree, inner, into / name)


@settings(deadline=None)
@given(TREES, st.lists(PATHS, max_size=8))
def test_directory_and_memory_agree(files: dict[str, bytes | Link | None], paths: list[str]) -> None:
    tree = MemoryTree(files)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "outside").mkdir()
        root = Path(folder, "outside", "host")
        root.mkdir()
        # What a link that leaves the root would find.
        Path(folder, "a").write_text("secret")
        Path(folder, "outside", "a").write_text("secret")
        write(tree, "", root)
        on_disk, in_memory = HostFiles(root), HostFiles(tree)
        for path in [*paths, *files, ""]:
            found = answers(on_disk, path)
            assert found == answers(in_memory, path), path
            assert "secret" not in str(found)
        # A second look, now through the folders that are kept.
        for path in paths:
            assert answers(on_disk, path) == answers(in_memory, path), path
        assert os.listdir(Path(folder, "outside")) != []
