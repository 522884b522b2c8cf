"""How willingly a thread lets others compute first: niceness is a thread's own on Linux.

Prefill beside decode on the same cores computes prompts with what decode leaves, so that a token of an answer does not
wait for a prompt.
"""

from __future__ import annotations

import contextlib
import os
import threading

__all__ = ["be_nice"]


def be_nice(niceness: int) -> None:
    """Gives the calling thread a niceness, 0 to 19; threads that it starts inherit it. Elsewhere nothing happens."""
    if niceness > 0 and hasattr(os, "setpriority"):
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)
