"""Imports at the start of a process: what they bring stays, so nobody has to look for garbage among it.

Called by the processes' entry points, before anything heavy.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["without_collection"]


@contextmanager
def without_collection() -> Iterator[None]:
    """Looks for no garbage meanwhile, and never again among what there is then.

    Looking costs an eighth of `import torch` and a fifth of our own imports after it, and 0.1 s at a time later.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
