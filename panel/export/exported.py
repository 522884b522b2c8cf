"""What an export is made of: files, and the formats that make them of a plan.

Values. Pure functions fill them (`formats` has the table), `writing` puts them into a folder or a zip file. A format
knows nothing of where its files will lie.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..deployment import Deployment
from ..launch import LaunchPlan

__all__ = ["ExportedFile", "Format"]


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """One file of an export.

    Attributes:
        path: relative to the export's folder, with `/`; it never leaves that folder.
        text: the whole text; written as UTF-8.
        executable: True for what a person runs.
    """

    path: str
    text: str
    executable: bool = False


@dataclass(frozen=True, slots=True)
class Format:
    """One way to take a plan away.

    Attributes:
        name: as `--format` wants it.
        title: for people.
        about: one sentence: for whom it is, and what it needs.
        write: the pure function; the same plan and deployment give the same files, in the same order. The first file is
            the one to read first.
    """

    name: str
    title: str
    about: str
    write: Callable[[LaunchPlan, Deployment], tuple[ExportedFile, ...]]
