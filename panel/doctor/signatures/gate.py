"""One regular expression that tells whether a line can interest any signature: most lines of a log cannot.

A tree of the needles costs a fraction of asking for each of them. Called by `panel.doctor.log`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import Any

__all__ = ["gate"]


@cache
def gate(needles: frozenset[str]) -> re.Pattern[str]:
    """Returns the pattern that is found in every text which contains one of `needles`."""
    tree: dict[str, Any] = {}
    for needle in needles:
        branch = tree
        for char in needle:
            branch = branch.setdefault(char, {})
        branch[""] = {}
    return re.compile(_pattern(tree))


def _pattern(branch: dict[str, Any]) -> str:
    # A needle that ends here is found, whatever longer ones begin with it.
    if "" in branch:
        return ""
    parts: Iterable[str] = [re.escape(char) + _pattern(rest) for char, rest in sorted(branch.items())]
    joined = "|".join(parts)
    return joined if len(branch) == 1 else f"(?:{joined})"
