"""The commands in a piece of shell script, as people paste it: continued lines, comments, exports, prompts, `&`.

Pure: nothing is run, no substitution but that of variables which the script itself sets. Knows no program; `command`
reads what comes out, and `panel.lint` edits the text by the places of its words. Broken quotes and unknown syntax give
some command, never an error.
"""

from __future__ import annotations

import re
import shlex
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

__all__ = ["ShellCommand", "is_assignment", "shell_commands", "shell_statements"]

_MOST_CHARACTERS = 1 << 20
_MOST_EXPANDED = 16 * 1024
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w{0,199}=")
_VARIABLE = re.compile(r"\$(?:(\w{1,200})|\{(\w{1,200})(?:\[[@*]\])?(?::?-([^{}$]{0,200}))?\})")
# $NAME, ${NAME}, "${NAME[@]}" and nothing else.
_ALONE = re.compile(r"\"?\$(?:\w{1,200}|\{\w{1,200}(?:\[[@*]\])?\})\"?")
# NAME=( and NAME+=(: an array, perhaps over several lines.
_ARRAY = re.compile(r"(?:\A|(?<=[\s;]))([A-Za-z_]\w{0,199})(\+?)=\(")
_HEREDOC = re.compile(r"<<-?\s{0,4}(['\"]?)(\w{1,60})\1")
_FENCE = re.compile(r"```|~~~")
# A quote that begins JSON, or a script of its own at the end of a line, and may end lines later.
_OPENING = re.compile(r"(?:\A|(?<=[\s=]))(['\"])(?=\s*\Z|\s*[\[{])")
_MOST_QUOTED_LINES = 400
_MOST_WORDS = 8192
_MOST_LINES = 20_000
_PROMPT = re.compile(r"\A(?:[$%>]|[\w.@:~/-]{1,60}[$#]) (?=\S)")
_OPERATORS = frozenset(";&|()\n")
_DECLARING = frozenset({"export", "declare", "typeset", "readonly", "local"})


@dataclass(frozen=True, slots=True)
class ShellCommand:
    """One simple command.

    Attributes:
        line: where it begins, from 1.
        words: the command with its arguments; redirections are left out.
        env: what was assigned before it or exported earlier.
        spans: where each word is written in the text, from and up to; words of one variable share its place.
        assigned: name, value and span of each assignment before the command, or the command's own when it is nothing
            but assignments; see `sets`.
        sets: True for a command that only sets variables, such as `export A=1`; it has no words that run.
    """

    line: int
    words: tuple[str, ...]
    env: Mapping[str, str]
    spans: tuple[tuple[int, int], ...] = ()
    assigned: tuple[tuple[str, str, tuple[int, int]], ...] = ()
    sets: bool = False


def is_assignment(word: str) -> bool:
    """Returns True for NAME=value."""
    return _ASSIGNMENT.match(word) is not None


def shell_commands(text: str) -> list[ShellCommand]:
    """Returns the simple commands of `text` in order; those that only set variables are left out."""
    return [command for command in shell_statements(text) if not command.sets]


def shell_statements(text: str) -> list[ShellCommand]:
    """Returns the simple commands of `text` in order, also those that only set variables."""
    variables: dict[str, str] = {}
    exported: dict[str, str] = {}
    commands: list[ShellCommand] = []
    for number, line, places in islice(_logical_lines(text[:_MOST_CHARACTERS]), _MOST_LINES):
        if array := _ARRAY.match(line):
            inside = line[array.end() :].rpartition(")")[0]
            elements = [word.text for words in _Words(inside, variables).simple_commands() for word in words]
            before = variables.get(array.group(1), "") + " " if array.group(2) else ""
            variables[array.group(1)] = (before + shlex.join(elements))[:_MOST_EXPANDED]
            continue
        for words in _Words(line, variables).simple_commands():
            spans = [_span(word, places) for word in words]
            texts = [word.text for word in words]
            place = 0
            keyword = texts[0] in _DECLARING
            if keyword:
                place = 1
            while place < len(words) and (is_assignment(texts[place]) or keyword):
                place += 1
            assigned = [
                (*_pair(text), span)
                for text, span in zip(texts[:place], spans[:place], strict=True)
                if is_assignment(text)
            ]
            pairs = {name: value for name, value, _ in assigned}
            if keyword or place == len(words):
                variables.update(pairs)
                exported.update(pairs if keyword else {name: pairs[name] for name in pairs if name in exported})
                commands.append(
                    ShellCommand(number, tuple(texts), dict(exported), tuple(spans), tuple(assigned), sets=True)
                )
            else:
                commands.append(
                    ShellCommand(number, tuple(texts[place:]), exported | pairs, tuple(spans[place:]), tuple(assigned))
                )
    return commands


def _pair(word: str) -> tuple[str, str]:
    name, _, value = word.partition("=")
    return name, value


@dataclass(slots=True)
class _Line:
    """A logical line while it grows: pieces with where each begins in the text."""

    number: int = 0
    pieces: list[str] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)

    def joined(self) -> tuple[int, str, Sequence[tuple[int, int]]]:
        places: list[tuple[int, int]] = []
        length = 0
        for piece, start in zip(self.pieces, self.starts, strict=True):
            places.append((length, start))
            length += len(piece) + 1
        return self.number, " ".join(self.pieces), places


def _span(word: _Word, places: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Returns where a word is in the text, from its place in a joined line."""

    def original(offset: int) -> int:
        here, start = places[max(0, bisect_right(places, (offset, 1 << 62)) - 1)]
        return start + offset - here

    return original(word.start), original(max(word.start, word.end - 1)) + 1


def _logical_lines(text: str) -> Iterator[tuple[int, str, Sequence[tuple[int, int]]]]:
    """Yields (number, line, places) with continued lines joined, comment lines and here-documents left out.

    `places` says where in the text the pieces begin of which the line is joined.
    """
    held = _Line()
    until, continued, quote, quoted = "", False, "", 0
    offset = 0
    for number, whole in enumerate(text.splitlines(keepends=True), 1):
        raw = whole.rstrip("\r\n\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029")
        line = raw.strip()
        begin = offset + len(raw) - len(raw.lstrip())
        offset += len(whole)
        if until:
            until = "" if line == until else until
            continue
        if quote and quoted < _MOST_QUOTED_LINES:
            quoted += 1
            held.pieces.append(line)
            held.starts.append(begin)
            if quote in line:
                behind = line.rpartition(quote)[2]
                quote = ""
                continued = behind.endswith("\\")
                held.pieces[-1] = line.removesuffix("\\") if continued else line
            continue
        if line.startswith("#"):
            continue
        # A paste often loses the backslash before a line of options.
        in_array = bool(held.pieces) and _ARRAY.match(held.pieces[0]) is not None and not held.pieces[-1].endswith(")")
        if not (held.pieces and (continued or in_array or line.startswith("--"))) or _FENCE.match(line):
            if held.pieces:
                yield held.joined()
            held = _Line(number)
            bare = "" if _FENCE.match(line) else _PROMPT.sub("", line, count=1)
            begin += len(line) - len(bare)
            line = bare
        continued = line.endswith("\\")
        if line:
            held.pieces.append(line.removesuffix("\\"))
            held.starts.append(begin)
        if match := _HEREDOC.search(line):
            until = match.group(2)
        opening = _OPENING.search(line)
        quote = opening.group(1) if opening and opening.group(1) not in line[opening.end() :] else ""
        quoted = 0
    if held.pieces:
        yield held.joined()


@dataclass(frozen=True, slots=True)
class _Word:
    """A word as the shell passes it on, and where it is written in its line."""

    text: str
    start: int
    end: int


class _Words:
    """Splits one logical line."""

    def __init__(self, line: str, variables: Mapping[str, str]) -> None:
        self._line = line
        self._variables = variables
        self._at = 0

    def simple_commands(self) -> Iterator[list[_Word]]:
        words: list[_Word] = []
        skip_next = False
        while self._at < len(self._line):
            char = self._line[self._at]
            if char in " \t":
                self._at += 1
            elif char == "#":
                break
            elif char in "<>" or (char == "&" and self._line[self._at : self._at + 2] == "&>"):
                skip_next = self._redirection()
            elif char in _OPERATORS:
                self._at += 1
                if words:
                    yield words
                words, skip_next = [], False
            else:
                start = self._at
                word = self._word()
                if self._at < len(self._line) and self._line[self._at] in "<>" and word.isdigit():
                    continue  # the 2 of 2>&1
                if not skip_next and len(words) < _MOST_WORDS:
                    end = min(self._at, len(self._line))
                    words.extend(_Word(part, start, end) for part in self._split(self._line[start:end], word))
                skip_next = False
        if words:
            yield words

    def _split(self, written: str, word: str) -> list[str]:
        """Returns a word as the shell splits it: $NAME and "${NAME[@]}" may hold several."""
        if _ALONE.fullmatch(written) is None or written.startswith("'"):
            return [word]
        # Quotes around one value keep it whole; an array was kept with its own quotes.
        if written.startswith('"') and "[" not in written:
            return [word]
        if word == written:
            return [word]
        try:
            return shlex.split(word)
        except ValueError:
            return word.split()

    def _redirection(self) -> bool:
        """Passes an operator such as >, >>, 2>&1 or &>; returns True when its target is the next word."""
        while self._at < len(self._line) and self._line[self._at] in "<>&":
            self._at += 1
        start = self._at
        while self._at < len(self._line) and self._line[self._at] in "0123456789-":
            self._at += 1
        return start == self._at

    def _word(self) -> str:
        pieces: list[str] = []
        line = self._line
        while self._at < len(line):
            char = line[self._at]
            if char in " \t\n;|()<>" or char == "&":
                break
            if char == "\\":
                pieces.append(line[self._at + 1 : self._at + 2])
                self._at += 2
            elif char == "'":
                end = _end(line, "'", self._at + 1)
                pieces.append(line[self._at + 1 : end])
                self._at = end + 1
            elif char == '"':
                pieces.append(self._double_quoted())
            elif char == "`" or line.startswith("$(", self._at):
                pieces.append(self._substitution())
            else:
                start = self._at
                self._at += 1
                while self._at < len(line) and line[self._at] not in " \t\n;|()<>&\\'\"`" and line[self._at] != "$":
                    self._at += 1
                pieces.append(self._expanded(line[start : self._at]))
        return "".join(pieces)[:_MOST_EXPANDED]

    def _double_quoted(self) -> str:
        line, pieces = self._line, [""]
        self._at += 1
        while self._at < len(line) and line[self._at] != '"':
            if line[self._at] == "\\" and line[self._at + 1 : self._at + 2] in ('"', "\\", "$", "`"):
                pieces.append(line[self._at + 1])
                self._at += 2
                continue
            start = self._at
            while self._at < len(line) and line[self._at] not in '"\\':
                self._at += 1
            if start == self._at:
                self._at += 1
            pieces.append(self._expanded(line[start : self._at]))
        self._at += 1
        return "".join(pieces)

    def _substitution(self) -> str:
        """Passes `...` or $(...) and returns it as it stands."""
        line, start = self._line, self._at
        if line[start] == "`":
            self._at = _end(line, "`", start + 1) + 1
            return line[start : self._at]
        depth = 0
        self._at += 1
        while self._at < len(line):
            depth += {"(": 1, ")": -1}.get(line[self._at], 0)
            self._at += 1
            if depth == 0:
                break
        return line[start : self._at]

    def _expanded(self, text: str) -> str:
        if "$" not in text:
            return text

        def value(match: re.Match[str]) -> str:
            name = match.group(1) or match.group(2)
            return self._variables.get(name, match.group(3) if match.group(3) is not None else match.group(0))

        return _VARIABLE.sub(value, text)[:_MOST_EXPANDED]


def _end(line: str, quote: str, start: int) -> int:
    place = line.find(quote, start)
    return len(line) if place < 0 else place
