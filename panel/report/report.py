"""What a report holds: named texts without secrets, the list that a person sees before, and the zip file.

Pure. `report.gather` collects the texts of a run; the command line and the page show `listing` and write `archive`.
"""

from __future__ import annotations

import io
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..redact import Redactor

__all__ = ["Report", "ReportFile", "make_report"]

# The first moment that a zip file can name: a report tells when it was made in its own words.
_TIME = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class ReportFile:
    """One file of a report.

    Attributes:
        name: its path in the zip file.
        redacted: how many secrets, home directories and names were taken out, by kind.
    """

    name: str
    data: bytes
    redacted: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Report:
    """All files of a report."""

    files: tuple[ReportFile, ...]

    @property
    def size_bytes(self) -> int:
        """The bytes of all files, before they are packed."""
        return sum(len(file.data) for file in self.files)

    @property
    def redacted(self) -> dict[str, int]:
        """What was taken out of all files, by kind."""
        total: Counter[str] = Counter()
        for file in self.files:
            total.update(file.redacted)
        return dict(total)

    @property
    def listing(self) -> list[dict[str, object]]:
        """What it holds, as plain JSON: of each file the name, the bytes and what was taken out."""
        return [{"name": file.name, "bytes": len(file.data), "redacted": dict(file.redacted)} for file in self.files]

    def archive(self) -> bytes:
        """Returns the zip file."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
            for file in self.files:
                entry = zipfile.ZipInfo(file.name, _TIME)
                entry.create_system = 3  # Unix: the upper half of the attributes is the mode.
                entry.external_attr = 0o100600 << 16
                entry.compress_type = zipfile.ZIP_DEFLATED
                made.writestr(entry, file.data)
        return buffer.getvalue()


def make_report(texts: Iterable[tuple[str, str]], redactor: Redactor) -> Report:
    """Returns the report of `texts`, name and content each, without what `redactor` takes out; of its names too."""
    files = []
    for name, text in texts:
        found = redactor.apply(text)
        files.append(ReportFile(redactor.apply(name).text, found.text.encode("utf-8", "replace"), found.counts))
    return Report(tuple(files))
