"""Work that waits for a device: done in order, on a thread of its own, each piece once its fence has passed.

The step loop must not stand still until a GPU has copied the pages of a chunk, and a link must not read them before.
Only prefill's exchange and the ranks' carriers use it, where copies go on behind the caller's back or are made only for
the transfer; knows no torch.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Fences"]


@dataclass(frozen=True, slots=True)
class _Piece:
    ready: Callable[[], None]
    work: Callable[[], None]
    failed: Callable[[str], None]


class Fences:
    """A queue of work and its thread, which starts with the first piece."""

    def __init__(self) -> None:
        self._pieces: queue.SimpleQueue[_Piece | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def put(self, ready: Callable[[], None], work: Callable[[], None], failed: Callable[[str], None]) -> None:
        """Has `work()` called once `ready()` returned and all earlier work is done.

        Args:
            failed: called instead of `work`, with one sentence, when `ready` raises: the device is broken.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="kv-fence", daemon=True)
            self._thread.start()
        self._pieces.put(_Piece(ready, work, failed))

    def close(self) -> None:
        """Returns when everything that was put is done."""
        if self._thread is not None:
            self._pieces.put(None)
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while (piece := self._pieces.get()) is not None:
            try:
                piece.ready()
            except Exception as error:  # torch raises RuntimeError's kin; the step loop meets the same one and ends
                piece.failed(f"The device failed while it copied KV: {error}")
            else:
                piece.work()
