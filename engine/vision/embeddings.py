"""Embeddings of images by the hash of their files, and the ids that stand for their rows in a prompt.

An image of r rows is r tokens of a prompt. Their ids lie beyond every vocabulary and spell out the image and the row,
so that everything that compares tokens (the prefix cache) or counts them (a decode worker) works with images as with
text, as SGLang's pad values do. What names an image in an id is keyed by a secret of the process: nobody can make two
images that share ids. Bounded; what requests hold is not evicted. Used from several threads.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import CapacityError
from .shape import VisionShape

__all__ = ["FIRST_IMAGE_ID", "MOST_ROWS", "EmbeddingStore", "Rows"]

_ROW_BITS = 16
_NAME_BITS = 46
MOST_ROWS = 1 << _ROW_BITS
FIRST_IMAGE_ID = 1 << (_ROW_BITS + _NAME_BITS)
"""Ids from here on, below 2**63, are rows of images."""

Rows = NDArray[np.float32]


class EmbeddingStore:
    """The embeddings that a worker has at hand.

    Args:
        limit_bytes: of all embeddings.
        least_images: so many are kept in any case, since a request may have as many.

    Attributes:
        capacity: images at most.
    """

    def __init__(self, shape: VisionShape, limit_bytes: int, least_images: int = 1) -> None:
        self.capacity = max(limit_bytes // shape.image_bytes, least_images)
        self._rows, self._width = shape.rows, shape.text_hidden
        self._secret = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._found: OrderedDict[bytes, Rows] = OrderedDict()  # the one used longest ago first
        self._keys: dict[int, bytes] = {}  # of `_found`, by name
        self._held: Counter[bytes] = Counter()

    def __len__(self) -> int:
        return len(self._found)

    def _name(self, key: bytes) -> int:
        digest = hashlib.blake2b(key, key=self._secret, digest_size=8).digest()
        return int.from_bytes(digest, "little") >> (64 - _NAME_BITS)

    def ids(self, key: bytes) -> tuple[int, ...]:
        """Returns the ids of an image's rows, be it known here or not."""
        first = FIRST_IMAGE_ID + (self._name(key) << _ROW_BITS)
        return tuple(range(first, first + self._rows))

    def missing(self, keys: Iterable[bytes]) -> list[bytes]:
        """Returns those of the images that are not here, each once."""
        with self._lock:
            return [key for key in dict.fromkeys(keys) if key not in self._found]

    def get(self, key: bytes) -> Rows | None:
        """Returns an image's embeddings, which count as used now."""
        with self._lock:
            if (rows := self._found.get(key)) is not None:
                self._found.move_to_end(key)
            return rows

    def put(self, key: bytes, rows: Rows) -> None:
        """Keeps an image's embeddings, float32 [rows, width], and forgets others when there are too many."""
        assert rows.shape == (self._rows, self._width) and rows.dtype == np.float32, (rows.shape, rows.dtype)
        with self._lock:
            self._found[key] = rows
            self._found.move_to_end(key)
            self._keys[self._name(key)] = key
            self._shrink()

    def _shrink(self) -> None:
        excess = len(self._found) - self.capacity
        if excess > 0:
            for key in [key for key in self._found if not self._held[key]][:excess]:
                del self._found[key]
                del self._keys[self._name(key)]

    def hold(self, keys: Sequence[bytes]) -> None:
        """Keeps these images, here or yet to come, until they are released as often.

        Raises:
            CapacityError: requests hold as many as the store keeps.
        """
        with self._lock:
            fresh = sum(not self._held[key] for key in set(keys))
            if sum(1 for count in self._held.values() if count) + fresh > self.capacity:
                message = f"The requests at work have as many images as the worker keeps, {self.capacity}"
                raise CapacityError(f"{message}; try again soon.")
            self._held.update(keys)

    def release(self, keys: Sequence[bytes]) -> None:
        """Takes a `hold` back."""
        with self._lock:
            self._held.subtract(keys)
            for key in set(keys):
                if self._held[key] < 1:
                    del self._held[key]
            self._shrink()

    def rows(self, ids: Sequence[int]) -> Rows:
        """Returns the rows that ids stand for, float32 [ids, width].

        Raises:
            LookupError: an image is not here; whoever computes asks for what is missing first.
        """
        out = np.empty((len(ids), self._width), np.float32)
        with self._lock:
            for place, one in enumerate(ids):
                name, row = divmod(one - FIRST_IMAGE_ID, MOST_ROWS)
                out[place] = self._found[self._keys[name]][row]
        return out
