"""What a source of files must be able to do: the seam between HostFiles and where the bytes lie.

A place is a path relative to the tree's root, without `.`, `..` or links in it; HostFiles follows links and
caches what it finds. Every method raises OSError with the kernel's number for what it cannot do, and nothing
else. Implemented by `directory` and `memory`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from enum import Enum, auto
from typing import Protocol

__all__ = ["Kind", "Tree"]


class Kind(Enum):
    """What lies at a place; OTHER is a pipe, a socket or a device node, none of which is ever opened."""

    FILE = auto()
    FOLDER = auto()
    LINK = auto()
    OTHER = auto()


class Tree(Protocol):
    """The files below one root."""

    @property
    def live(self) -> bool:
        """True for the root of the running machine, where the kernel follows the links."""
        ...

    def kind(self, place: str) -> Kind:
        """Returns what is there; a link is not followed (on the live root it is)."""
        ...

    def read(self, place: str, limit: int) -> bytes:
        """Returns the first `limit` bytes of a plain file."""
        ...

    def read_each(self, place: str, names: Collection[str], limit: int) -> Mapping[str, bytes | OSError]:
        """Returns the first `limit` bytes of plain files of one folder, or why not, by name."""
        ...

    def entries(self, place: str) -> Iterable[tuple[str, Kind]]:
        """Returns the names in a folder and what each is."""
        ...

    def link(self, place: str) -> str:
        """Returns the text of a link."""
        ...

    def real(self, place: str) -> str:
        """Returns the place with all links followed; only for a live root."""
        ...
