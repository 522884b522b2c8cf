"""A tree of files held in memory: what an archive unpacks to, so that nothing of it reaches the disk.

Knows nothing of archives. Filled by the archive readers, read by HostFiles.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from .tree import Kind

__all__ = ["Link", "MemoryTree"]


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link; an absolute target starts at the root of the tree."""

    target: str


_Folder: TypeAlias = "dict[str, _Node]"
_Node: TypeAlias = "_Folder | bytes | Link"


class MemoryTree:
    """Files, folders and links by path.

    Args:
        files: the content of each path: bytes for a file, a Link, or None for a folder. Folders above a path
            need not be named.
    """

    live = False

    def __init__(self, files: Mapping[str, bytes | Link | None] | None = None) -> None:
        self._root: _Folder = {}
        for path, content in (files or {}).items():
            self.plant(path, content)

    def plant(self, path: str, content: bytes | Link | None) -> None:
        """Puts a file, a link or (None) a folder at `path`, a relative one without `.` and `..`.

        What comes later replaces what was there, as when a tar archive is unpacked; a folder keeps its files.
        """
        *above, name = [part for part in path.split("/") if part] or [""]
        folder = self._root
        for part in above:
            below = folder.get(part)
            if not isinstance(below, dict):
                below = folder[part] = {}
            folder = below
        if not name:
            return
        if content is not None:
            folder[name] = content
        elif not isinstance(folder.get(name), dict):
            folder[name] = {}

    def copy(self, path: str, origin: str) -> bool:
        """Puts the file or link at `origin` at `path` too, as a hard link does; False when there is none."""
        try:
            content = self._node(origin)
        except OSError:
            return False
        if isinstance(content, dict):
            return False
        self.plant(path, content)
        return True

    def below(self, folder: str) -> MemoryTree:
        """Returns the tree whose root is `folder` of this one; raises OSError when it is no folder."""
        tree = MemoryTree()
        tree._root = self._folder(folder)
        return tree

    def kind(self, place: str) -> Kind:
        """Returns what is there; a link is not followed."""
        return _kind(self._node(place))

    def read(self, place: str, limit: int) -> bytes:
        """Returns the first `limit` bytes of a file."""
        node = self._node(place)
        if not isinstance(node, bytes):
            raise _error(errno.EISDIR if isinstance(node, dict) else errno.ELOOP)
        return node[:limit]

    def read_each(self, place: str, names: Collection[str], limit: int) -> dict[str, bytes | OSError]:
        """Returns the first `limit` bytes of files of one folder, or why not, by name."""
        folder = self._folder(place)
        contents: dict[str, bytes | OSError] = {}
        for name in names:
            node = folder.get(name)
            contents[name] = node[:limit] if isinstance(node, bytes) else _error(errno.ENOENT)
        return contents

    def entries(self, place: str) -> list[tuple[str, Kind]]:
        """Returns the names in a folder and what each is."""
        return [(name, _kind(node)) for name, node in self._folder(place).items()]

    def link(self, place: str) -> str:
        """Returns the text of a link."""
        node = self._node(place)
        if not isinstance(node, Link):
            raise _error(errno.EINVAL)
        return node.target

    def real(self, place: str) -> str:
        """Returns the place itself: a tree in memory is never the live root."""
        return place

    def _folder(self, place: str) -> _Folder:
        node = self._node(place)
        if not isinstance(node, dict):
            raise _error(errno.ENOTDIR)
        return node

    def _node(self, place: str) -> _Node:
        node: _Node = self._root
        for part in place.split("/") if place else ():
            if not isinstance(node, dict):
                raise _error(errno.ENOTDIR)
            below = node.get(part)
            if below is None:
                raise _error(errno.ENOENT)
            node = below
        return node


def _kind(node: _Node) -> Kind:
    if isinstance(node, bytes):
        return Kind.FILE
    return Kind.FOLDER if isinstance(node, dict) else Kind.LINK


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
