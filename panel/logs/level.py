"""How grave a line of a log is, as the line says it itself: in glog's, Python's, vLLM's, Rust's and JSON's shapes.

Pure. A line that says no level is of the line above it: a traceback belongs to its error. A line that the doctor knows
to be harmless is no error, whatever it says. Called by `rows` and `scan`.
"""

from __future__ import annotations

import re
from enum import IntEnum

from ..doctor.harmless import is_harmless
from ..doctor.log_line import looks_like_error

__all__ = ["Level", "Telling", "level_of"]

_BEGIN = 256
_LOOKED_AT = 512


class Level(IntEnum):
    """The gravity of a line; NONE is a line that says nothing about it."""

    NONE = 0
    DEBUG = 1
    INFO = 2
    WARNING = 3
    ERROR = 4


_WORDS = {
    "trace": Level.DEBUG,
    "debug": Level.DEBUG,
    "notset": Level.DEBUG,
    "info": Level.INFO,
    "notice": Level.INFO,
    "warn": Level.WARNING,
    "warning": Level.WARNING,
    "error": Level.ERROR,
    "err": Level.ERROR,
    "critical": Level.ERROR,
    "fatal": Level.ERROR,
    "panic": Level.ERROR,
}
_LETTERS = {"I": Level.INFO, "W": Level.WARNING, "E": Level.ERROR, "F": Level.ERROR, "D": Level.DEBUG}

# What engines, compose and ranks put before a line: (EngineCore pid=12), [rank0]:, router-1 |.
_PREFIX = r"(?:\([^()\n]{1,40}\) |\[rank\d{1,5}\]:? ?|[\w.-]{1,40} +\| ){0,3}"
_GLOG = re.compile(_PREFIX + r"([IWEFD])(?:\d{4})?\d{4} \d\d:\d\d:\d\d")
# A time in any of the usual shapes, within brackets or not.
_TIME = r"(?:\[?\d[\d\-/:., TZ+]{4,40}\]?[ \t:,-]{0,4})?"
_NAME = r"(?:[A-Za-z_][\w.]{0,60} ?[:-] ?)?"
_SHOUTED = (
    _PREFIX + _TIME + r"[\[(<]?(TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|ERR|CRITICAL|FATAL)"
    r"(?:[\])>]|:|[ \t]|\Z)"
)
_WORD = re.compile(_SHOUTED)
# Python's `time - name - LEVEL - message`, uvicorn's `time LEVEL: ...` and the like after a name.
_AFTER_NAME = re.compile(
    _PREFIX + _TIME + r"[^\s\"]{1,80}(?: - |: ?| )\[?(TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|CRITICAL|FATAL)\b"
    r"(?! (?:rate|count))"
)
_JSON = re.compile(r'"(?:level|levelname|severity|lvl)": ?"([A-Za-z]{3,8})"')
# SGLang: [2026-11-21 05:05:38 TP0] text without a level.
_SGLANG = re.compile(r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:[.,]\d+)?(?: [^\]\n]{1,40})?\] \S")
# In every line of warning or error one of these stands, in letters of some case; "error" and "interrupt" hold "err".
# Single words are found many times as fast as an expression of all of them.
_TELLING_WORDS = (b"err", b"fatal", b"crit", b"warn", b"xception", b"fault", b"panic")
_TELLING_GLOG = re.compile(rb"[EFW]\d{4}")


def level_of(text: str) -> Level:
    """Returns how grave a cleaned line is, NONE when it does not say."""
    said = _said_by(text[:_BEGIN])
    return Level.INFO if said >= Level.WARNING and is_harmless(text[:_LOOKED_AT]) else said


def _said_by(start: str) -> Level:
    if start.lstrip().startswith("{"):
        match = _JSON.search(start)
        return _WORDS.get(match[1].lower(), Level.NONE) if match else Level.NONE
    if match := _GLOG.match(start):
        return _LETTERS[match[1]]
    if match := _WORD.match(start) or _AFTER_NAME.match(start):
        return _WORDS[match[1].lower()]
    if looks_like_error(start):
        return Level.ERROR
    if _SGLANG.match(start):
        return Level.WARNING if "Warning" in start[:120] else Level.INFO
    return Level.NONE


class Telling:
    """Where in a block of a log lines of warning or error can be: in most of a healthy log, nowhere.

    Args:
        data: the block.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._lowered = data.lower()
        self._next = dict.fromkeys((*_TELLING_WORDS, b""), -1)

    def after(self, start: int) -> int:
        """Returns the first place at or after `start` at which something tells; -1 when there is none.

        The calls of one block must go forward.
        """
        for word, place in self._next.items():
            if place < start:
                found = self._find(word, start)
                self._next[word] = len(self._data) if found < 0 else found
        place = min(self._next.values())
        return place if place < len(self._data) else -1

    def _find(self, word: bytes, start: int) -> int:
        if word:
            return self._lowered.find(word, start)
        match = _TELLING_GLOG.search(self._data, start)
        return match.start() if match else -1
