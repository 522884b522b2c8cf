"""Reads the kernel's files of one host; every other module of the probe reads through this one.

The files are those of the live machine (root `/`), of a capture in a directory, or of one in memory. In a
capture links are followed as in a chroot: an absolute one starts at the root, `..` stops there, and nothing
outside is ever read. A file that cannot be read is a `Reading` with a reason, never an exception: one broken
device must not hide the others. Paths are relative to the root, such as `sys/class/net`.
"""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from ..reading import Reading
from .directory import DirectoryTree
from .tree import Kind, Tree

__all__ = ["HostFiles"]

_MAX_BYTES = 1 << 22
# PATH_MAX and MAXSYMLINKS of Linux.
_MAX_PATH = 4096
_MAX_LINKS = 40
_FACTS = "pdpanel/facts.json"
_DIGITS = re.compile(r"(\d+)", re.ASCII)
_NUMBER = re.compile(r"[+-]?(0[xX][0-9a-fA-F]+|\d+)", re.ASCII)
_PLAIN_NUMBER = re.compile(r"0|[1-9]\d{,8}", re.ASCII).fullmatch
_REASONS = {
    errno.ENOENT: "does not exist",
    errno.ELOOP: "is in a loop of links",
    errno.EISDIR: "is not a plain file",
    errno.ENXIO: "is not a plain file",
}


class HostFiles:
    """The files of one host.

    In a capture each folder is looked up once and kept, so a capture must not change meanwhile.

    Args:
        root: the directory that stands for `/`, or a tree of files.
        facts: how to learn what no file holds, asked once, on the live machine alone; a capture has a file of it.
    """

    def __init__(self, root: Path | Tree = Path("/"), *, facts: Callable[[], Mapping[str, Any]] | None = None) -> None:
        self._tree: Tree = DirectoryTree(root) if isinstance(root, Path) else root
        self.live = self._tree.live
        self._collect = facts
        self._facts: Mapping[str, Any] | None = None
        self._folders: dict[str, str] = {}
        self._steps: dict[str, tuple[Kind, str]] = {}

    @property
    def tree(self) -> Tree:
        """What is read, for whoever copies all of it."""
        return self._tree

    def text(self, path: str, *, may_be_empty: bool = False) -> Reading[str]:
        """Returns the file's text without the white space around it.

        The text with which a driver says that it has no such counter counts as unreadable, and so does an
        empty file unless it `may_be_empty`. Of a huge file only the first 4 MiB are read.
        """
        source = "/" + path
        try:
            content = self._read(path, _MAX_BYTES)
        except (OSError, ValueError) as error:
            return Reading.unreadable(source, _why(error))
        return _as_text(content, source, may_be_empty)

    def texts(
        self, folder: str, *, may_be_empty: bool = False, only: Collection[str] | None = None
    ) -> Mapping[str, Reading[str]]:
        """Returns the texts of the plain files of a folder by name, in natural order (2 before 10).

        Meant for tables of hundreds of files: much cheaper than `text` of each. A folder that cannot be listed
        has none; `names` says why.

        Args:
            only: read just these names, in this order, whether they exist or not.
        """
        try:
            place = self._folder(folder)
            kinds = dict(self._tree.entries(place)) if only is None else dict.fromkeys(only, Kind.LINK)
            plain = [name for name, kind in kinds.items() if kind is Kind.FILE]
            contents = self._tree.read_each(place, plain, _MAX_BYTES) if plain else {}
        except (OSError, ValueError):
            return {} if only is None else {name: self.text(f"{folder}/{name}") for name in only}
        texts: dict[str, Reading[str]] = {}
        for name in _in_order(kinds) if only is None else kinds:
            source = f"/{folder}/{name}"
            content = contents.get(name)
            if isinstance(content, bytes):
                texts[name] = _as_text(content, source, may_be_empty)
            elif content is not None:
                texts[name] = Reading.unreadable(source, _why(content))
            elif kinds[name] is Kind.LINK and (only is not None or self.is_plain(f"{folder}/{name}")):
                texts[name] = self.text(f"{folder}/{name}", may_be_empty=may_be_empty)
        return texts

    def bytes_of(self, path: str, limit: int) -> Reading[bytes]:
        """Returns the first `limit` bytes of a binary file, such as `vpd` of a PCI device."""
        try:
            return Reading(self._read(path, max(0, limit)), "/" + path)
        except (OSError, ValueError) as error:
            return Reading.unreadable("/" + path, _why(error))

    def integer(self, path: str) -> Reading[int]:
        """Returns the file's number, decimal or with a 0x in front."""
        return self.text(path).convert(_number, "a number")

    def names(self, path: str) -> Reading[tuple[str, ...]]:
        """Returns the names in a folder, in natural order (2 before 10), without hidden ones.

        Names that cannot be printed are left out: the kernel has none, and such a capture is hostile.
        """
        source = "/" + path
        try:
            entries = self._tree.entries(self._folder(path))
            return Reading(tuple(_in_order(name for name, _ in entries)), source)
        except (OSError, ValueError) as error:
            return Reading.unreadable(source, _why(error))

    def target(self, path: str) -> Reading[str]:
        """Returns what the path stands for once all links are followed, relative to the root."""
        source = "/" + path
        try:
            return Reading(self._tree.real(path) if self.live else self._follow(path), source)
        except (OSError, ValueError) as error:
            return Reading.unreadable(source, _why(error))

    def link_name(self, path: str) -> Reading[str]:
        """Returns the last part of where a link points: for a link to a driver that is the driver's name.

        Works for links that lead nowhere too, since captures seldom hold the drivers' own directories.
        """
        source = "/" + path
        try:
            return Reading(self._tree.link(self._beside(path)).rstrip("/").rpartition("/")[2], source)
        except OSError as error:
            return Reading.unreadable(source, "is not a link" if error.errno == errno.EINVAL else _why(error))
        except ValueError as error:
            return Reading.unreadable(source, _why(error))

    def is_plain(self, path: str) -> bool:
        """True for a plain file and for a link to one."""
        return self._kind(path) is Kind.FILE

    def exists(self, path: str) -> bool:
        """True when there is something at the path."""
        return self._kind(path) is not None

    def facts(self) -> Mapping[str, Any]:
        """Returns what is known of the host from no file: for a capture what was put into it, else empty."""
        if self._facts is None:
            if self.live:
                self._facts = {} if self._collect is None else self._collect()
            else:
                self._facts = _object(self.text(_FACTS).otherwise(""))
        return self._facts

    def _read(self, path: str, limit: int) -> bytes:
        if self.live:
            return self._tree.read(path, limit)
        try:
            return self._tree.read(self._beside(path), limit)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
        return self._tree.read(self._follow(path), limit)

    def _kind(self, path: str) -> Kind | None:
        try:
            return self._tree.kind(path if self.live else self._follow(path))
        except (OSError, ValueError):
            return None

    def _folder(self, path: str) -> str:
        """Returns the place of a folder, its links followed."""
        if self.live:
            return path
        place = self._folders.get(path)
        if place is None:
            place = self._folders[path] = self._follow(path)
        return place

    def _beside(self, path: str) -> str:
        """Returns the place of a path with the links above it followed, but not the last part."""
        folder, _, name = path.rpartition("/")
        if self.live or name in ("", ".", ".."):
            return path if self.live else self._follow(path)
        place = self._folder(folder)
        return f"{place}/{name}" if place else name

    def _follow(self, path: str) -> str:
        """Returns the place of a path with all links followed as in a chroot; raises when nothing is there."""
        if len(path) > _MAX_PATH:
            raise OSError(errno.ENAMETOOLONG, "has too long a path")
        waiting = path.split("/")[::-1]
        here: list[str] = []
        links = 0
        while waiting:
            part = waiting.pop()
            if part in ("", "."):
                continue
            if part == "..":
                del here[-1:]
                continue
            kind, target = self._step("/".join((*here, part)))
            if kind is Kind.LINK:
                links += 1
                if links > _MAX_LINKS or len(waiting) > _MAX_PATH:
                    raise OSError(errno.ELOOP, "is in a loop of links")
                if target.startswith("/"):
                    here.clear()
                waiting.extend(reversed(target.split("/")))
            elif waiting and kind is not Kind.FOLDER:
                raise OSError(errno.ENOTDIR, "is not a directory")
            else:
                here.append(part)
        return "/".join(here)

    def _step(self, place: str) -> tuple[Kind, str]:
        step = self._steps.get(place)
        if step is None:
            kind = self._tree.kind(place)
            step = self._steps[place] = (kind, self._tree.link(place) if kind is Kind.LINK else "")
        return step


def _as_text(content: bytes, source: str, may_be_empty: bool) -> Reading[str]:
    # The device tree ends its texts with a zero byte.
    text = content.decode("utf-8", "replace").strip(" \t\r\n\v\f\0")
    if not text and not may_be_empty:
        return Reading.unreadable(source, "is empty")
    if text.startswith("N/A"):
        return Reading.unreadable(source, f"reads {text[:40]}")
    return Reading(text, source)


def _number(text: str) -> int | None:
    if _NUMBER.fullmatch(text) is None:
        return None
    return int(text, 16) if "x" in text.lower() else int(text)


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _why(error: OSError | ValueError) -> str:
    if isinstance(error, ValueError):
        return "is no path"
    reason = _REASONS.get(error.errno or 0)
    return reason or (error.strerror or type(error).__name__).lower()


def _in_order(names: Iterable[str]) -> list[str]:
    shown = [name for name in names if name[:1] != "." and name.isprintable()]
    # The tables of hundreds of files are numbered, and sort five times faster as numbers.
    numbered = all(_PLAIN_NUMBER(name) for name in shown)
    return sorted(shown, key=int if numbered else _natural)


def _natural(name: str) -> tuple[list[str | int], str]:
    """`mlx5_10` gives [`mlx`, 5, `_`, 10, ``]: texts and numbers take turns, so lists compare."""
    parts: list[str | int] = [*_DIGITS.split(name)]
    parts[1::2] = [int(digits[:4000]) for digits in _DIGITS.findall(name)]
    return parts, name
