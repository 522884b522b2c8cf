"""Mooncake's metadata, kept by the bootstrap server: what engines say of themselves, by key.

Answers as Mooncake's own `http_metadata_server` does, codes and texts included, within bounds: keys of Mooncake's
shape, JSON values, and no more of them than memory allows; beyond that what nobody asked for longest is forgotten.
Pure: knows nothing of sockets. `server` serves it, and `stand_in` while the worker loads.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["MOST_VALUE_BYTES", "MetadataAnswer", "MetadataStore"]

MOST_VALUE_BYTES = 1 << 20
_MOST_KEYS = 8192
_MOST_BYTES = 64 << 20
# `mooncake/ram/NAME`, `mooncake/rpc_meta/NAME`, and one folder deeper with MC_METADATA_CLUSTER_ID.
_KEY = re.compile(r"mooncake(?:/[\x21-\x2e\x30-\x7e]{1,256}){2,4}")


@dataclass(frozen=True, slots=True)
class MetadataAnswer:
    """What a request is answered with; the content type is always JSON, as Mooncake's server says.

    Attributes:
        status: HTTP's.
        body: the value, or what became of the request.
    """

    status: int
    body: bytes


class MetadataStore:
    """The entries.

    Args:
        entries: what another store held.
        most_keys: entries at most.
        most_bytes: bytes of all values at most.
    """

    def __init__(
        self, entries: Mapping[str, str] | None = None, *, most_keys: int = _MOST_KEYS, most_bytes: int = _MOST_BYTES
    ) -> None:
        self._values: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0
        self._most_keys = most_keys
        self._most_bytes = most_bytes
        for key, value in (entries or {}).items():
            self._keep(key, value.encode())

    def __len__(self) -> int:
        return len(self._values)

    def entries(self) -> dict[str, str]:
        """Returns everything, what was asked for longest ago first."""
        return {key: value.decode() for key, value in self._values.items()}

    def answer(self, method: str, key: str, body: bytes = b"") -> MetadataAnswer:
        """Does what a request asks for.

        Args:
            key: the query's key, unquoted.
        """
        key = key.strip()
        if not key:
            return MetadataAnswer(400, b"metadata key is required")
        if method not in ("GET", "PUT", "DELETE"):
            return MetadataAnswer(405, b"Method not allowed")
        if not _KEY.fullmatch(key):
            return MetadataAnswer(400, b"metadata key is not one of Mooncake's: mooncake/KIND/NAME")
        if method == "PUT":
            return self._put(key, body)
        if (value := self._values.get(key)) is None:
            return MetadataAnswer(404, b"metadata not found")
        if method == "DELETE":
            self._forget(key)
            return MetadataAnswer(200, b"metadata deleted")
        self._values.move_to_end(key)
        return MetadataAnswer(200, value)

    def _put(self, key: str, body: bytes) -> MetadataAnswer:
        if len(body) > MOST_VALUE_BYTES:
            return MetadataAnswer(413, f"metadata is longer than {MOST_VALUE_BYTES} bytes".encode())
        try:
            is_object = isinstance(json.loads(body.decode()), dict)
        except (ValueError, RecursionError):
            is_object = False
        if not is_object:
            return MetadataAnswer(400, b"metadata is not one JSON object")
        if "rpc_meta" in key and key in self._values:  # two engines of one name
            return MetadataAnswer(400, b"Duplicate rpc_meta key not allowed")
        self._keep(key, body)
        return MetadataAnswer(200, b"metadata updated")

    def _keep(self, key: str, value: bytes) -> None:
        self._forget(key)
        self._values[key] = value
        self._bytes += len(value)
        while len(self._values) > self._most_keys or self._bytes > self._most_bytes:
            self._forget(next(iter(self._values)))

    def _forget(self, key: str) -> None:
        self._bytes -= len(self._values.pop(key, b""))
