"""From the bytes of a log file to text that a page may show.

Pure: no files, no sockets. Decodes UTF-8 across chunk edges, drops terminal escape sequences and control
characters (also those cut at a chunk edge), and makes every line end a newline. `log_tail` feeds it.
"""

from __future__ import annotations

import codecs
import re

__all__ = ["LogText"]

# CSI, OSC (ended by BEL or ST), other string sequences, and two-character escapes.
_ESCAPE = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"
    r"|\x1b[PX^_][^\x1b]*\x1b\\"
    r"|\x1b[ -/]*[0-Z\\^-~]"
)
# An escape sequence that may go on in the next chunk.
_OPEN_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]*\x1b?|[PX^_][^\x1b]*\x1b?|[ -/]*)?\Z")
# C0 but tab and newline, DEL, C1, and the bidirectional controls that can make a line read as another one.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_LONGEST_OPEN_ESCAPE = 256


class LogText:
    """A stream of log bytes read as clean text."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""

    def feed(self, data: bytes) -> str:
        """Returns the text of `data`, but for an end that may be half of a sequence."""
        text = self._held + self._decoder.decode(data)
        self._held = ""
        start = len(text)
        if match := _OPEN_ESCAPE.search(text, max(0, len(text) - _LONGEST_OPEN_ESCAPE)):
            start = match.start()
        elif text.endswith("\r"):
            start -= 1
        self._held, text = text[start:], text[:start]
        text = _ESCAPE.sub("", text)
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        return _CONTROL.sub("", text)
