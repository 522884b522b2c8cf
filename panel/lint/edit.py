"""Makes the changes of commands in the text that they are written in: what is not changed stays as it was, quotes too.

Pure. The words of a variable, whose definition stands elsewhere, cannot be changed in place and are left alone.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ..doctor.shell import ShellCommand, shell_statements
from .rewrite import Rewrite

__all__ = ["Edit", "apply_edits", "edits_of", "quoted"]


@dataclass(frozen=True, slots=True)
class Edit:
    """`text[start:end]` becomes `text`."""

    start: int
    end: int
    text: str


def apply_edits(text: str, edits: Iterable[Edit]) -> str:
    """Returns the text with the edits made; of two that overlap the first counts."""
    pieces: list[str] = []
    at = 0
    for edit in sorted(set(edits), key=lambda edit: (edit.start, edit.end)):
        if edit.start < at:
            continue
        pieces += [text[at : edit.start], edit.text]
        at = edit.end
    return "".join([*pieces, text[at:]])


def edits_of(text: str, rewrites: Sequence[Rewrite], *, inner: bool = False) -> list[Edit]:
    """Returns the edits in `text` that make the changes of its commands; `inner` is the script of another command."""
    edits: list[Edit] = []
    nested: dict[tuple[int, int], list[Rewrite]] = {}
    for rewrite in rewrites:
        written = rewrite.written
        if written.inside is not None and not inner:
            command, place = written.inside
            if place < len(command.spans):
                nested.setdefault(command.spans[place], []).append(rewrite)
            # A variable that is exported outside of the inner script.
            edits += _variable_edits(text, rewrite, before=command.line)
            continue
        edits += _word_edits(text, written.command, rewrite)
        edits += _variable_edits(text, rewrite, before=written.command.line)
    for (start, end), commands in nested.items():
        script = commands[0].written.text
        if not _is_written(text[start:end], script):
            continue
        corrected = apply_edits(script, edits_of(script, commands, inner=True))
        if corrected != script:
            edits.append(Edit(start, end, shlex.quote(corrected)))
    return edits


def quoted(words: Iterable[str]) -> str:
    """Returns words as a shell reads them back."""
    return " ".join(shlex.quote(word) for word in words)


def _is_written(text: str, script: str) -> bool:
    """Returns True when a script is this very word: it came out of no variable and stands in no other script."""
    try:
        return shlex.split(text) == [script]
    except ValueError:
        return False


def _word_edits(text: str, command: ShellCommand, rewrite: Rewrite) -> Iterator[Edit]:
    spans = command.spans
    for change in rewrite.changes:
        if change.end > len(spans) or not _alone(text, command, change.start, change.end):
            continue
        if change.start == change.end:
            at = spans[change.start - 1][1] if change.start else spans[0][0]
            behind = quoted(change.words)
            yield Edit(at, at, f" {behind}" if change.start else f"{behind} ")
        elif change.words:
            yield from _replaced(text, command, change.start, change.end, change.words)
        else:
            yield _removed(text, spans, change.start, change.end)


def _replaced(text: str, command: ShellCommand, start: int, end: int, words: Sequence[str]) -> Iterator[Edit]:
    """Yields an edit for each word that differs, where as many words come as go, else one for all."""
    spans, old = command.spans, command.words[start:end]
    if len(old) != len(words):
        # The first words are often the same; what follows them is written anew.
        kept = 0
        while kept < min(len(old), len(words)) - 1 and old[kept] == words[kept]:
            kept += 1
        yield Edit(spans[start + kept][0], spans[end - 1][1], quoted(words[kept:]))
        return
    for place, (before, after) in enumerate(zip(old, words, strict=True), start):
        if before != after:
            yield Edit(*spans[place], shlex.quote(after))


def _alone(text: str, command: ShellCommand, start: int, end: int) -> bool:
    """Returns True when none of the words came out of a variable with others."""
    spans = command.spans
    touched = spans[start:end] or spans[max(0, start - 1) : start]
    shared = [span for span in touched if spans.count(span) > 1]
    if start == end:
        return True
    return not shared


def _removed(text: str, spans: Sequence[tuple[int, int]], start: int, end: int) -> Edit:
    if start:
        return Edit(spans[start - 1][1], spans[end - 1][1], "")
    following = spans[end][0] if end < len(spans) else spans[end - 1][1]
    return Edit(spans[0][0], following, "")


def _variable_edits(text: str, rewrite: Rewrite, before: int) -> Iterator[Edit]:
    """Yields the edits of the assignments that reach the command: its own, and what was exported before it."""
    if not rewrite.variables:
        return
    own = rewrite.written.command
    for statement in shell_statements(text):
        if statement.line > before or not statement.assigned:
            continue
        mine = statement.line == own.line and statement.spans[:1] == own.spans[:1]
        if not statement.sets and not mine:
            continue
        for name, _, (start, end) in statement.assigned:
            if name not in rewrite.variables:
                continue
            assignment = rewrite.variables[name]
            if assignment is not None:
                new, _, value = assignment.partition("=")
                yield Edit(start, end, f"{new}={shlex.quote(value)}")
            elif statement.sets and len(statement.assigned) == 1:
                yield _whole_line(text, statement)
            else:
                yield Edit(start, _next_word(text, end), "")


def _whole_line(text: str, statement: ShellCommand) -> Edit:
    """Returns the edit that takes a statement away, with its line when nothing else stands in it."""
    start, end = statement.spans[0][0], statement.spans[-1][1]
    line_start = text.rfind("\n", 0, start) + 1
    line_end = text.find("\n", end)
    line_end = len(text) if line_end < 0 else line_end
    if not text[line_start:start].strip() and not text[end:line_end].strip():
        return Edit(line_start, min(len(text), line_end + 1), "")
    return Edit(start, _next_word(text, end, ";& "), "")


def _next_word(text: str, at: int, passed: str = "") -> int:
    while at < len(text) and (text[at] in " \t" + passed or text.startswith("\\\n", at)):
        at += 2 if text.startswith("\\\n", at) else 1
    return at
