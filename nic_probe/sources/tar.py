"""Reads a tar archive into memory, member by member as they come.

Nothing is written anywhere. Device nodes, pipes and sockets are passed over. An archive that stops without its
end mark, or has a broken header in the middle, is refused: the standard library's reader takes both for the
end and would show half a host as a whole one. Called by `capture`.
"""

from __future__ import annotations

import tarfile
from typing import IO, cast

from .archive import ArchiveError, Unpacking
from .compressed import PlainStream

__all__ = ["looks_like_tar", "read_tar"]

_HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
# A long name or a set of attributes; the standard library reads it whole.
_HEADER_BYTES = 1 << 20


def looks_like_tar(first: bytes) -> bool:
    """True when the first 512 bytes are the header of a tar member, or the mark of an empty archive."""
    if len(first) < tarfile.BLOCKSIZE:
        return False
    try:
        tarfile.TarInfo.frombuf(first[: tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return not any(first[: tarfile.BLOCKSIZE])
    return True


def read_tar(stream: PlainStream, into: Unpacking) -> None:
    """Takes in all members; raises ArchiveError."""
    last = ""
    try:
        with tarfile.open(
            # tarfile asks for nothing but read().
            fileobj=cast("IO[bytes]", stream),
            mode="r|",
            tarinfo=_Header,
            encoding="utf-8",
            errors="surrogateescape",
        ) as tar:
            while (member := tar.next()) is not None:
                last = member.name
                _take(tar, member, into)
                # It would keep every member's header until the end.
                tar.members = []  # pyright: ignore[reportAttributeAccessIssue]
    except _BrokenHeader as error:
        after = f"after the member {last[:80]!r}" if last else "at its first member"
        if error.ended:
            raise ArchiveError.truncated(after) from None
        raise ArchiveError(
            f"is no proper tar archive {after} ({error})", "write the dump again and copy it whole"
        ) from None
    except (tarfile.TarError, EOFError):
        raise ArchiveError.truncated(f"within the member {last[:80]!r}") from None
    except (ValueError, OverflowError, OSError) as error:
        # Numbers and names out of all bounds come out of the standard library as they are.
        raise _improper(f"({error})") from None
    stream.drain()


def _improper(why: str) -> ArchiveError:
    return ArchiveError(f"is no proper tar archive {why}", "write the dump again and copy it whole")


def _take(tar: tarfile.TarFile, member: tarfile.TarInfo, into: Unpacking) -> None:
    if member.isreg():
        content = tar.extractfile(member)
        into.file(member.name, content.read(into.limits.file_bytes) if content is not None else b"")
    elif member.isdir():
        into.folder(member.name)
    elif member.issym():
        into.link(member.name, member.linkname)
    elif member.islnk():
        into.hard_link(member.name, member.linkname)
    else:
        into.passed_over(member.name)


class _BrokenHeader(Exception):
    def __init__(self, problem: str, *, ended: bool = False) -> None:
        super().__init__(problem)
        self.ended = ended


class _Header(tarfile.TarInfo):
    """A header that says what is wrong with it, where the standard library's ends the reading in silence."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        if len(buf) < tarfile.BLOCKSIZE:
            raise _BrokenHeader("ends too early", ended=True)
        try:
            member = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if any(buf):
                raise _BrokenHeader(str(error)) from None
            raise  # Zero bytes alone: the end mark.
        if member.size < 0:
            raise _BrokenHeader("a negative size")
        if member.type in _HEADERS and member.size > _HEADER_BYTES:
            raise _BrokenHeader("a name or an attribute of more than 1 MiB")
        return member
