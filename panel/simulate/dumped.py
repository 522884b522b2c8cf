"""Writes the host of a dump as files that can change, so that its counters can move.

A dump comes from anywhere: no link of it leads out of the folder, and no more is written than any host has. Called by
`prepare`.
"""

from __future__ import annotations

import os
import posixpath
from pathlib import Path

from ...nic_probe.errors import SourceError
from ...nic_probe.sources.capture import open_capture
from ...nic_probe.sources.tree import Kind, Tree

__all__ = ["write_dump_tree"]

_MOST_FILES = 200_000
_MOST_BYTES = 512 << 20
_FILE_BYTES = 1 << 22
_TOP = ("sys", "proc", "etc", "opt", "pdpanel", "run", "var")


def write_dump_tree(dump: Path, root: Path) -> None:
    """Writes the files of the host in `dump` below `root`, an empty folder.

    Raises:
        SourceError: it is no dump, it is this very machine, or it is larger than any host's.
    """
    files = open_capture(dump)
    if files.live:
        raise SourceError("--simulate", str(dump), "is this machine itself", "leave --simulate out to see it")
    _Copy(files.tree, root, str(dump)).folder("")


class _Copy:
    def __init__(self, tree: Tree, root: Path, name: str) -> None:
        self._tree = tree
        self._root = root
        self._name = name
        self._files = self._bytes = 0

    def folder(self, place: str) -> None:
        """Writes what is in a folder; at the top only what a host's files are made of."""
        for name, kind in self._tree.entries(place):
            if not place and name not in _TOP:
                continue
            below = f"{place}/{name}" if place else name
            self._count(1, 0)
            try:
                if kind is Kind.FOLDER:
                    (self._root / below).mkdir(mode=0o700)
                    self.folder(below)
                elif kind is Kind.LINK:
                    os.symlink(_inside(below, self._tree.link(below)), self._root / below)
                elif kind is Kind.FILE:
                    self._file(below)
            except (OSError, ValueError):
                continue  # What cannot be read there is not there here.

    def _file(self, place: str) -> None:
        content = self._tree.read(place, _FILE_BYTES)
        self._count(0, len(content))
        (self._root / place).write_bytes(content)

    def _count(self, files: int, size: int) -> None:
        self._files += files
        self._bytes += size
        if self._files > _MOST_FILES or self._bytes > _MOST_BYTES:
            problem = "holds more files than any host has"
            raise SourceError("--simulate", self._name, problem, "write the dump again with `pdpanel probe --dump`")


def _inside(place: str, target: str) -> str:
    """Returns a link's target relative to the link, as in a chroot: `..` stops at the top."""
    folder = posixpath.dirname(place)
    found = posixpath.normpath(posixpath.join("/", "" if target.startswith("/") else folder, target.lstrip("/")))
    return posixpath.relpath(found, f"/{folder}")
