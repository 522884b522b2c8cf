"""Imports at the start of a process: what they bring stays, so nobody has to look for garbage among it.

Called by the processes' entry points, before anything heavy.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["LEAN_PILLOW", "QUIET_TORCH", "without_collection"]

QUIET_TORCH = {
    # Devices of other packages would be looked for in every package that is installed; none of them is served.
    "TORCH_DEVICE_BACKEND_AUTOLOAD": "0",
    # What goes wrong between ranks comes as exceptions, too, and the log needs no stacks of C++.
    "TORCH_CPP_LOG_LEVEL": "FATAL",
}
"""Variables of the environment that torch reads when it is imported."""

LEAN_PILLOW = {
    # Blocks of more than 32 MiB go back to the system when an image is done; of smaller ones malloc keeps most.
    "PILLOW_BLOCK_SIZE": "64m",
}
"""And one that Pillow reads."""


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
