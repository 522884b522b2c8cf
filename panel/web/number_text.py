"""Numbers as they travel to the browser: JSON text of a few significant digits, and rows as what changed.

Pure. Four digits are more than a chart of 1000 pixels or a readout shows; a number that changes beyond them alone is
not sent again. Called by `cut` and `differences`.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["changed_segments", "number_text", "rounded"]

# A segment costs about as much as this many unchanged values, so shorter stretches of them are sent along.
_BRIDGE = 2


def number_text(value: float, digits: int = 4) -> str:
    """Returns `value` as JSON with so many significant digits; what is no number is `null`."""
    if value != value or value in (float("inf"), float("-inf")):
        return "null"
    text = f"{value:.{digits}g}"
    # JSON allows both; the exponent's sign and zero are bytes that say nothing.
    return text.replace("e+0", "e").replace("e+", "e").replace("e-0", "e-") if "e" in text else text


def rounded(value: object, digits: int = 4) -> object:
    """Returns a float or a large integer with so many significant digits, anything else as it is."""
    if isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**6):
        return float(f"{value:.{digits}g}")
    return value


def changed_segments(before: Sequence[str], now: Sequence[str]) -> str:
    """Returns the values of `now` that differ from `before`, as JSON arrays [first index, value, value, ...].

    Args:
        before: the texts that the browser holds; as long as `now` or shorter, in which case the rest is new.
        now: the texts of the new row.
    """
    held = len(before)
    changed = [index for index, text in enumerate(now) if index >= held or before[index] != text]
    segments: list[str] = []
    place = 0
    while place < len(changed):
        end = place
        while end + 1 < len(changed) and changed[end + 1] - changed[end] <= _BRIDGE + 1:
            end += 1
        first, last = changed[place], changed[end]
        segments.append(f"[{first},{','.join(now[first : last + 1])}]")
        place = end + 1
    return ",".join(segments)
