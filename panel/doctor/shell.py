"""The commands in a piece of shell script, as people paste it: continued lines, comments, exports, prompts, `&`.

Pure: nothing is run, no substitution but that of variables which the script itself sets. Knows no program; `command`
reads what comes out. Broken quotes and unknown syntax give some command, never an error.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

__all__ = ["ShellCommand", "is_assignment", "shell_commands"]

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
_PROMPT = re.compile(r"\A(?:[$%>]|[\w.@:~/-]{1,60}[$#]) (?=\S)")
_OPERATORS = frozenset(";&|()\n")


@dataclass(frozen=True, slots=True)
class ShellCommand:
    """One simple command.

    Attributes:
        line: where it begins, from 1.
        words: the command with its arguments; redirections are left out.
        env: what was assigned before it or exported earlier.
    """

    line: int
    words: tuple[str, ...]
    env: Mapping[str, str]


def is_assignment(word: str) -> bool:
    """Returns True for NAME=value."""
    return _ASSIGNMENT.match(word) is not None


def shell_commands(text: str) -> list[ShellCommand]:
    """Returns the simple commands of `text` in order."""
    variables: dict[str, str] = {}
    exported: dict[str, str] = {}
    commands: list[ShellCommand] = []
    for number, line in _logical_lines(text[:_MOST_CHARACTERS]):
        if array := _ARRAY.match(line):
            inside = line[array.end() :].rpartition(")")[0]
            elements = [word for words in _Words(inside, variables).simple_commands() for word in words]
            before = variables.get(array.group(1), "") + " " if array.group(2) else ""
            variables[array.group(1)] = (before + shlex.join(elements))[:_MOST_EXPANDED]
            continue
        for words in _Words(line, variables).simple_commands():
            place = 0
            if words[0] in {"export", "declare", "typeset", "readonly", "local"}:
                for word in words[1:]:
                    if is_assignment(word):
                        name, _, value = word.partition("=")
                        variables[name] = exported[name] = value
                continue
            while place < len(words) and is_assignment(words[place]):
                place += 1
            assigned = dict(word.split("=", 1) for word in words[:place])
            if place == len(words):
                variables.update(assigned)
            else:
                commands.append(ShellCommand(number, tuple(words[place:]), exported | assigned))
    return commands


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yields (number, line) with continued lines joined, comment lines and here-documents left out."""
    held: list[str] = []
    start, until, continued = 0, "", False
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if until:
            until = "" if line == until else until
            continue
        if line.startswith("#"):
            continue
        # A paste often loses the backslash before a line of options.
        in_array = bool(held) and _ARRAY.match(held[0]) is not None and not held[-1].endswith(")")
        if not (held and (continued or in_array or line.startswith("--"))) or _FENCE.match(line):
            if held:
                yield start, " ".join(held)
            held, start = [], number
            line = "" if _FENCE.match(line) else _PROMPT.sub("", line, count=1)
        if line:
            held.append(line.removesuffix("\\"))
        continued = line.endswith("\\")
        if match := _HEREDOC.search(line):
            until = match.group(2)
    if held:
        yield start, " ".join(held)


class _Words:
    """Splits one logical line."""

    def __init__(self, line: str, variables: Mapping[str, str]) -> None:
        self._line = line
        self._variables = variables
        self._at = 0

    def simple_commands(self) -> Iterator[list[str]]:
        words: list[str] = []
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
                if not skip_next:
                    words.extend(self._split(self._line[start : self._at], word))
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
