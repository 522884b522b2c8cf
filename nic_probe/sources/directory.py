"""A tree of files that lies in a directory: the live root, or a capture of a host.

In a capture links are never followed here, so nothing outside the directory is opened. Pipes and device nodes
are not opened either, and every file is opened so that it cannot block. Called by HostFiles.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection
from pathlib import Path

from .tree import Kind

__all__ = ["DirectoryTree"]

# O_NONBLOCK: a pipe that takes the place of a file would hold the reader for ever.
_LIVE = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
_CAPTURE = _LIVE | os.O_NOFOLLOW
# One read gets a whole file of sysfs, which is at most a page.
_CHUNK = 1 << 13


class DirectoryTree:
    """The files below a directory.

    Args:
        root: the directory that stands for `/`.
    """

    def __init__(self, root: str | Path) -> None:
        self._root = os.path.realpath(root)
        self.live = self._root == "/"
        self._prefix = "/" if self.live else self._root + "/"
        self._flags = _LIVE if self.live else _CAPTURE

    def kind(self, place: str) -> Kind:
        """Returns what is there; a link is not followed (on the live root it is)."""
        path = self._prefix + place
        mode = (os.stat(path) if self.live else os.lstat(path)).st_mode
        return _kind(mode)

    def read(self, place: str, limit: int) -> bytes:
        """Returns the first `limit` bytes of a plain file; raises ELOOP for a link in a capture."""
        path = self._prefix + place
        if not (self.live and place.startswith(("sys/", "proc/"))):
            # Looked at before it is opened: merely to open a device node can start a tape or a watchdog.
            mode = (os.stat(path) if self.live else os.lstat(path)).st_mode
            if not stat.S_ISREG(mode):
                raise OSError(errno.ELOOP, "is a link") if stat.S_ISLNK(mode) else _not_plain()
        descriptor = os.open(path, self._flags)
        try:
            return _read(descriptor, limit, place.startswith("proc/"))
        finally:
            os.close(descriptor)

    def read_each(self, place: str, names: Collection[str], limit: int) -> dict[str, bytes | OSError]:
        """Returns the first `limit` bytes of plain files of one folder, or why not, by name.

        The folder is looked up once, and the files are opened within it.
        """
        contents: dict[str, bytes | OSError] = {}
        in_proc = place.startswith("proc/")
        folder = os.open(self._prefix + place, self._flags | os.O_DIRECTORY)
        try:
            for name in names:
                try:
                    descriptor = os.open(name, _CAPTURE, dir_fd=folder)
                    try:
                        contents[name] = _read(descriptor, limit, in_proc)
                    finally:
                        os.close(descriptor)
                except OSError as error:
                    contents[name] = error
        finally:
            os.close(folder)
        return contents

    def entries(self, place: str) -> list[tuple[str, Kind]]:
        """Returns the names in a folder and what each is."""
        with os.scandir(self._prefix + place) as found:
            return [(entry.name, _kind_of(entry)) for entry in found]

    def link(self, place: str) -> str:
        """Returns the text of a link."""
        return os.readlink(self._prefix + place)

    def real(self, place: str) -> str:
        """Returns the place with all links followed; only for a live root."""
        return os.path.realpath(self._prefix + place, strict=True).lstrip("/")


def _read(descriptor: int, limit: int, to_the_end: bool) -> bytes:
    """Reads up to `limit` bytes.

    A short answer is the end of the file, on disks as in sysfs. Files of /proc answer in pieces: there the end
    is an empty answer.
    """
    asked = min(limit, _CHUNK)
    part = os.read(descriptor, asked)
    if len(part) < asked and not (to_the_end and part):
        return part
    parts = [part]
    left = limit - len(part)
    while left > 0 and (part := os.read(descriptor, min(left, 1 << 16))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _kind(mode: int) -> Kind:
    if stat.S_ISREG(mode):
        return Kind.FILE
    if stat.S_ISDIR(mode):
        return Kind.FOLDER
    return Kind.LINK if stat.S_ISLNK(mode) else Kind.OTHER


def _kind_of(entry: os.DirEntry[str]) -> Kind:
    if entry.is_symlink():
        return Kind.LINK
    try:
        if entry.is_file(follow_symlinks=False):
            return Kind.FILE
        return Kind.FOLDER if entry.is_dir(follow_symlinks=False) else Kind.OTHER
    except OSError:
        return Kind.OTHER


def _not_plain() -> OSError:
    return OSError(errno.ENXIO, "is not a plain file")
