"""Archives and damaged files for tests of captures."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable

__all__ = ["make_tar", "sampled_cuts"]


def make_tar(
    members: Iterable[tuple[str, bytes | str | None]], *, kinds: dict[str, bytes] | None = None, finish: bool = True
) -> bytes:
    """Returns a tar archive: bytes make a file, a text a link to it, None a folder.

    Args:
        members: name and content.
        kinds: another member type by name, such as tarfile.LNKTYPE.
        finish: False leaves the end mark out.
    """
    into = io.BytesIO()
    with tarfile.open(fileobj=into, mode="w") as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                member.size = len(content)
            elif isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
            else:
                member.type = tarfile.DIRTYPE
            member.type = (kinds or {}).get(name, member.type)
            tar.addfile(member, io.BytesIO(content) if isinstance(content, bytes) else None)
        end = into.tell()
    return into.getvalue() if finish else into.getvalue()[:end]


def sampled_cuts(content: bytes, count: int = 200) -> Iterable[bytes]:
    """Yields beginnings of `content`: all of a short one, else about `count` of them and the last ones."""
    step = max(1, len(content) // count)
    lengths = sorted({*range(0, len(content), step), *range(max(0, len(content) - 20), len(content))})
    return (content[:length] for length in lengths)
