"""One question to a library, and its answer as JSON: `{"value": ...}` or `{"reason": ...}`.

Used in the child process alone, by the readers of libraries beside this file. Knows no library.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["asked", "failure"]


def asked(*ways: Callable[[], Any]) -> dict[str, Any]:
    """Returns the answer of the first of the `ways` to ask that gives one, or the first failure.

    A way that returns None or text such as N/A has no answer.
    """
    reasons: list[str] = []
    for way in ways:
        try:
            value = way()
        except Exception as error:
            # A library may raise anything: its own errors, UnicodeDecodeError, AttributeError for an old release.
            reasons.append(failure(error))
            continue
        if value is not None and value != "N/A":
            return {"value": value}
        reasons.append("is not known" if value is None else f"reads {value}")
    return {"reason": reasons[0]}


def failure(error: BaseException) -> str:
    """Returns an error's text as a reason: one line in lower case.

    Of AMD's `Error code: 2 | AMDSMI_STATUS_NOT_SUPPORTED - Feature not supported` the words at the end.
    """
    text = " ".join(str(error).split())
    if "AMDSMI_STATUS_" in text:
        text = text.partition(" - ")[2] or text
    return text.rstrip(".").lower()[:200] or type(error).__name__
