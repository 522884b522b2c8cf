"""The reading of a version number, so that two of them compare. The only place that does it.

Knows no engine. Called by dialects, by the doctor and by the tables of this package.
"""

from __future__ import annotations

import re
from functools import lru_cache

__all__ = ["version_of"]

_VERSION = re.compile(r"v?(\d{1,9}(?:\.\d{1,9}){0,5})(?:[._-]?(a|b|rc|post|dev)[._-]?(\d{1,9}))?", re.IGNORECASE)
# Above every post release of the release before.
_BEFORE_NEXT = 10**9


@lru_cache(maxsize=1024)
def version_of(text: str) -> tuple[int, ...]:
    """Returns the numbers of a version, in an order: (0, 4, 5, 1) for 0.4.5.post1; empty when there is none.

    A candidate lies between the release before and its own: 0.5.2rc1 is (0, 5, 1, 10**9, 1). What follows the number,
    such as an image's -cu129, says nothing about the order.
    """
    found = _VERSION.match(text.strip())
    if not found:
        return ()
    release = [int(part) for part in found[1].split(".")]
    release += [0] * (3 - len(release))
    stage = (found[2] or "").lower()
    if not stage:
        return tuple(release)
    if stage == "post":
        return (*release, int(found[3]))
    return (*release[:-1], release[-1] - 1, _BEFORE_NEXT, int(found[3]))
