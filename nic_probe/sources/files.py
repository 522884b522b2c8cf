"""Reads the kernel's files under one root; every other module of the probe reads through this one.

With the root `/` that is the live machine, with any other directory a capture of one, and nothing outside
that directory is ever read. A file that cannot be read is a `Reading` with a reason, never an exception:
one broken device must not hide the others. Paths are relative to the root, such as `sys/class/net`.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from ..reading import Reading

__all__ = ["HostFiles"]

_MAX_BYTES = 1 << 22


class HostFiles:
    """The files of one host.

    Args:
        root: the directory that stands for `/`.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = os.path.realpath(root)
        self.live = self._root == "/"

    def text(self, path: str, *, may_be_empty: bool = False) -> Reading[str]:
        """Returns the file's text without the white space around it.

        The text with which a driver says that it has no such counter counts as unreadable, and so does an
        empty file unless it `may_be_empty`.
        """
        source = "/" + path
        place = self._inside(path)
        if place is None:
            return Reading.unreadable(source, "leads out of the capture")
        try:
            # Without O_NONBLOCK a pipe among the files of a capture would hold the probe for ever.
            descriptor = os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    return Reading.unreadable(source, "is not a plain file")
                content = _read_all(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            return Reading.unreadable(source, _why(error))
        text = content.decode("utf-8", "replace").strip()
        if not text and not may_be_empty:
            return Reading.unreadable(source, "is empty")
        if text.startswith("N/A"):
            return Reading.unreadable(source, f"reads {text[:40]}")
        return Reading(text, source)

    def integer(self, path: str) -> Reading[int]:
        """Returns the file's number, decimal or with a 0x in front."""
        return self.text(path).convert(_number, "a number")

    def names(self, path: str) -> Reading[tuple[str, ...]]:
        """Returns the names in a directory, in natural order (2 before 10), without hidden ones."""
        source = "/" + path
        place = self._inside(path)
        if place is None:
            return Reading.unreadable(source, "leads out of the capture")
        try:
            names = os.listdir(place)
        except OSError as error:
            return Reading.unreadable(source, _why(error))
        return Reading(tuple(sorted((name for name in names if name[0] != "."), key=_natural)), source)

    def target(self, path: str) -> Reading[str]:
        """Returns what the path stands for once all links are followed, relative to the root."""
        source = "/" + path
        place = self._inside(path)
        if place is None:
            return Reading.unreadable(source, "leads out of the capture")
        if not os.path.exists(place):
            return Reading.unreadable(source, "does not exist")
        return Reading(os.path.relpath(place, self._root), source)

    def link_name(self, path: str) -> Reading[str]:
        """Returns the last part of where a link points: for a link to a driver that is the driver's name.

        Works for links that lead nowhere too, since captures seldom hold the drivers' own directories.
        """
        source = "/" + path
        folder, _, name = path.rpartition("/")
        place = self._inside(folder)
        if place is None:
            return Reading.unreadable(source, "leads out of the capture")
        try:
            return Reading(os.path.basename(os.readlink(os.path.join(place, name))), source)
        except OSError as error:
            return Reading.unreadable(source, "is not a link" if error.errno == errno.EINVAL else _why(error))

    def is_plain(self, path: str) -> bool:
        """True for a plain file and for a link to one."""
        place = self._inside(path)
        return place is not None and os.path.isfile(place)

    def exists(self, path: str) -> bool:
        """True when there is something at the path."""
        place = self._inside(path)
        return place is not None and os.path.exists(place)

    def _inside(self, path: str) -> str | None:
        place = os.path.realpath(os.path.join(self._root, path))
        return place if self.live or place == self._root or place.startswith(self._root + os.sep) else None


def _read_all(descriptor: int) -> bytes:
    parts: list[bytes] = []
    left = _MAX_BYTES
    while left and (part := os.read(descriptor, min(left, 1 << 16))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _number(text: str) -> int:
    return int(text, 16) if text[:2].lower() == "0x" else int(text)


def _why(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "does not exist"
    return (error.strerror or type(error).__name__).lower()


def _natural(name: str) -> list[tuple[int, int, str]]:
    parts: list[tuple[int, int, str]] = []
    digits = ""
    for char in name + "\0":
        if char.isdecimal() and char.isascii():
            digits += char
            continue
        if digits:
            parts.append((0, int(digits), ""))
            digits = ""
        parts.append((1, 0, char))
    return parts
