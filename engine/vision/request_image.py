"""One image of a request: its file, what it is told apart by, and its name in the request."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

__all__ = ["RequestImage"]


@dataclass(frozen=True, slots=True)
class RequestImage:
    """An image as it came.

    Attributes:
        data: the file.
        field: where the request has it, for errors.
        key: the file's sha256.
    """

    data: bytes = field(repr=False)
    field: str
    key: bytes

    @classmethod
    def of(cls, data: bytes, field: str) -> RequestImage:
        """Returns the image in a file."""
        return cls(data, field, hashlib.sha256(data).digest())
