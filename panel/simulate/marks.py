"""Puts the mark of a simulated host on texts that leave the panel, as a comment in their own language. Pure.

JSON has no comments: what is JSON says it in its own fields, or is told by the file beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..export.exported import ExportedFile

__all__ = ["marked_files", "marked_text"]

_SILENT = (".json", ".ipynb", ".xml")


def marked_text(path: str, text: str, told: str) -> str:
    """Returns `text` with `told` in its first lines.

    Args:
        path: whose ending says what language it is in.
        text: what a person takes away.
        told: the sentence.
    """
    if path.endswith(_SILENT):
        return text
    if path.endswith(".md"):
        return f"> {told}\n\n{text}"
    first, newline, rest = text.partition("\n")
    if first.startswith("#!"):
        return f"{first}\n# {told}{newline}{rest}"
    return f"# {told}\n{text}"


def marked_files(files: Sequence[ExportedFile], told: str) -> tuple[ExportedFile, ...]:
    """Returns the files of an export with the mark in each that can have comments."""
    return tuple(replace(file, text=marked_text(file.path, file.text, told)) for file in files)
