"""What an archive may hold, and the tree in memory that it becomes.

Every member passes through `Unpacking`, which refuses names that leave the root and archives that are too big
to be a capture of a host. Knows no format; filled by `tar` and `ttar`, started by `capture`.
"""

from __future__ import annotations

from dataclasses import dataclass

from .memory import Link, MemoryTree

__all__ = ["ArchiveError", "Limits", "Unpacking"]

_NAME_MAX = 255


class ArchiveError(Exception):
    """An archive that cannot be read.

    Attributes:
        problem: what is wrong, as the end of a sentence that begins with the archive.
        remedy: what to do, as an instruction.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy

    @classmethod
    def truncated(cls, where: str) -> ArchiveError:
        """Returns the error for an archive that ends too early."""
        return cls(f"is truncated: it ends {where}", "write the dump again and copy it whole")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much an archive may hold; a whole /sys of a big server stays far below.

    Attributes:
        members: files, folders and links.
        devices: entries of one folder that lists devices.
        file_bytes: what is kept of one file; the rest is dropped.
        total_bytes: of the archive once it is no longer compressed.
        text_bytes: of a ttar file, which is read whole.
        depth: folders in each other.
    """

    members: int = 200_000
    devices: int = 4096
    file_bytes: int = 4 << 20
    total_bytes: int = 512 << 20
    text_bytes: int = 128 << 20
    depth: int = 128


class Unpacking:
    """An archive on its way into memory.

    Attributes:
        tree: what has been unpacked so far.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.tree = MemoryTree()
        self._members = 0

    def file(self, name: str, content: bytes) -> None:
        """Takes in a file."""
        self.tree.plant(self._place(name), content)

    def folder(self, name: str) -> None:
        """Takes in a folder."""
        self.tree.plant(self._place(name), None)

    def link(self, name: str, target: str) -> None:
        """Takes in a symbolic link; where it leads is judged when it is followed."""
        self.tree.plant(self._place(name), Link(target[:4096]))

    def hard_link(self, name: str, origin: str) -> None:
        """Takes in a hard link, which must be to a member of the archive."""
        place = self._place(name)
        self.tree.copy(place, self._within(origin, f"the hard link {_shown(name)} to {_shown(origin)}"))

    def passed_over(self, name: str) -> None:
        """Counts a member that is left out, such as a device node."""
        self._place(name)

    def _place(self, name: str) -> str:
        self._members += 1
        if self._members > self.limits.members:
            raise ArchiveError(f"has more than {self.limits.members} members", "pack only sys/ and proc/ of one host")
        return self._within(name, f"the member {_shown(name)}")

    def _within(self, name: str, what: str) -> str:
        """Returns the name without `.` and `..`."""
        parts: list[str] = []
        if name.startswith("/"):
            raise ArchiveError(f"holds {what}, an absolute name", "pack the folder that holds sys/ with relative names")
        for part in name.split("/"):
            if part == "..":
                if not parts:
                    raise ArchiveError(
                        f"holds {what}, which leads out of it", "pack the folder that holds sys/ with relative names"
                    )
                parts.pop()
            elif part not in ("", "."):
                parts.append(part)
        if len(parts) > self.limits.depth or any(len(part) > _NAME_MAX for part in parts):
            raise ArchiveError(
                f"holds {what}, longer or deeper than any file of a host",
                "write the dump again with `pdpanel probe --dump`",
            )
        return "/".join(parts)


def _shown(name: str) -> str:
    return repr(name if len(name) <= 80 else name[:77] + "...")
