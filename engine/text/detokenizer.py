"""Text from token ids, one token at a time, never taking back what it gave.

Decodes a small window of recent tokens, since one token may hold part of a character and some decoders look
at neighbours. `tokenizers.decoders.DecodeStream` does the same but raises on byte-fallback vocabularies, and
on endless invalid bytes it holds everything back at quadratic cost. Called by `engine.text.tokenizer` and
`engine.text.stream`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

__all__ = ["Detokenizer"]

_REPLACEMENT = "\ufffd"
# An unfinished UTF-8 sequence has at most three bytes, and decoders show it as one to three replacement
# characters.
_MAX_UNFINISHED = 3
_WINDOW_TOKENS = 32
_CONTEXT_TOKENS = 8
# Ids from here on are no tokens of any vocabulary (`tokenizers` counts in 32 bits) but rows of images.
_NO_TEXT = 1 << 32


class Detokenizer:
    """The text of one token sequence, piece by piece.

    For byte-level vocabularies the pieces and `flush()` join to exactly `decode(all ids)`. A byte-fallback
    vocabulary keeps this for valid text; its decoder judges a whole run of byte tokens at once, so after
    invalid bytes the pieces may differ from `decode` in replacement characters.

    Args:
        decode: text of a list of ids.
        skipped: ids that give no text, such as special tokens.
        after: the ids before the first pushed one, such as the prompt; only the first push's leading space,
            which some decoders strip at the start of a text, depends on it.
    """

    def __init__(self, decode: Callable[[list[int]], str], skipped: frozenset[int], after: Sequence[int] = ()) -> None:
        self._decode = decode
        self._skipped = skipped
        near = after[-_CONTEXT_TOKENS:]
        self._ids = [token for token in near if token not in skipped and token < _NO_TEXT]
        self._given = decode(self._ids)
        if self._given.endswith(_REPLACEMENT):
            self._ids, self._given = [], ""
        self._read = len(self._ids)

    def push(self, token_id: int) -> str:
        """Returns the text that became final with `token_id`; empty while a character is incomplete."""
        if token_id in self._skipped:
            return ""
        self._ids.append(token_id)
        text = self._decode(self._ids)
        if not text.startswith(self._given):
            # Decoders that judge a run of bytes as a whole rewrite earlier text: wait for the run to end.
            return self._restart(text) if len(self._ids) > _WINDOW_TOKENS else ""
        final = _without_unfinished(text)
        new = final[len(self._given) :]
        self._given += new
        if new and len(final) == len(text):
            self._ids = self._ids[self._read :]
            self._given = self._decode(self._ids)
            self._read = len(self._ids)
        elif len(self._ids) > _WINDOW_TOKENS:
            self._shorten(text)
        return new

    def flush(self) -> str:
        """Returns what is still held: an incomplete character as replacement characters."""
        text = self._decode(self._ids)
        held = text[len(self._given) :]
        self._ids, self._given, self._read = [], "", 0
        return held

    def _restart(self, text: str) -> str:
        held = text[len(self._given) :]
        self._ids, self._given, self._read = [], "", 0
        return held

    def _shorten(self, text: str) -> None:
        """Drops leading tokens at a place where the text splits cleanly, if there is one."""
        for at in range(len(self._ids) - 1, 0, -1):
            left, right = self._decode(self._ids[:at]), self._decode(self._ids[at:])
            # Cutting through a character changes the number of replacement characters.
            if right and left + right == text and len(left) <= len(self._given):
                self._ids = self._ids[at:]
                self._given = self._given[len(left) :]
                self._read = 0
                return


def _without_unfinished(text: str) -> str:
    end = len(text)
    while end and len(text) - end < _MAX_UNFINISHED and text[end - 1] == _REPLACEMENT:
        end -= 1
    return text[:end]
