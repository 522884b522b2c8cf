"""What engines registered with a metadata server: its entries put together into segments.

Pure. Mooncake keeps two entries per segment: `mooncake/ram/NAME`, which describes its memory, and
`mooncake/rpc_meta/NAME`, which says where its engine listens; with MC_METADATA_CLUSTER_ID both lie one folder
deeper (Mooncake: transfer_metadata.cpp, seen on its etcd and HTTP servers). Whatever else stands there is kept as
a problem of its segment, never an error: the server takes text from anybody. Called by `survey`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

__all__ = ["PREFIX", "Entry", "Segment", "SegmentBuffer", "SegmentDevice", "keys_of_label", "segments_of"]

PREFIX = "mooncake/"
_FOLDERS = ("ram/", "rpc_meta/")


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a metadata server.

    Attributes:
        key: bytes that are no UTF-8 stand as surrogates.
        value: None when it could not be read, for the `problem`.
        revision: what etcd calls mod_revision; 0 elsewhere.
    """

    key: str
    value: bytes | None
    revision: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class SegmentDevice:
    """An RDMA device that an engine registered its memory with."""

    name: str
    gid: str
    lid: int


@dataclass(frozen=True, slots=True)
class SegmentBuffer:
    """A registered range of memory; `name` is Mooncake's word for where it lies, such as cpu:0 or cuda:1."""

    name: str
    address: int
    length: int


@dataclass(frozen=True, slots=True)
class Segment:
    """One engine's registration.

    Attributes:
        label: what it is called here: its name, after the cluster's id and a slash where there is one; the whole key
            of an entry outside the folders, such as those of NVMe segments.
        entries: the entries that it consists of, by which it is removed.
        protocol: Mooncake's word for the transport, several joined by commas; empty when not known.
        host: where its engine takes handshakes, with `rpc_port`; empty when no entry says so.
        timestamp: when its memory was registered last, in the engine's own local time.
        problems: what could not be read of it.
    """

    label: str
    entries: tuple[Entry, ...]
    protocol: str = ""
    devices: tuple[SegmentDevice, ...] = ()
    buffers: tuple[SegmentBuffer, ...] = ()
    host: str = ""
    rpc_port: int = 0
    timestamp: str = ""
    problems: tuple[str, ...] = ()

    @property
    def total_bytes(self) -> int:
        """How much memory is registered."""
        return sum(buffer.length for buffer in self.buffers)

    @property
    def described(self) -> bool:
        """True when an entry describes its memory."""
        return any("rpc_meta/" not in entry.key for entry in self.entries)


def keys_of_label(label: str) -> tuple[str, ...]:
    """Returns every key that the segment `label` may have, for servers that cannot list."""
    cluster, slash, name = label.rpartition("/")
    keys = [f"{PREFIX}{cluster}{slash}{folder}{name}" for folder in _FOLDERS]
    if slash:
        keys.append(f"{PREFIX}rpc_meta/{label}")
    return (label, *keys) if label.startswith(PREFIX) else tuple(keys)


def segments_of(entries: Iterable[Entry]) -> tuple[Segment, ...]:
    """Returns the segments that the entries belong to, by label."""
    by_label: dict[str, list[Entry]] = {}
    for entry in entries:
        by_label.setdefault(_label(entry.key), []).append(entry)
    return tuple(_segment(label, by_label[label]) for label in sorted(by_label))


def _label(key: str) -> str:
    rest = key.removeprefix(PREFIX)
    for folder in _FOLDERS:
        if rest.startswith(folder):
            return rest.removeprefix(folder)
        cluster, slash, name = rest.partition("/" + folder)
        if slash:
            return f"{cluster}/{name}"
    return key


def _segment(label: str, entries: list[Entry]) -> Segment:
    problems: list[str] = []
    described: dict[str, Any] = {}
    where: dict[str, Any] = {}
    for entry in entries:
        document = _document(entry, problems)
        if "rpc_meta/" in entry.key:
            where |= document
        else:
            described |= document
    return Segment(
        label,
        tuple(entries),
        _protocol(described),
        _devices(described, problems),
        _buffers(described, problems),
        _text(where.get("ip_or_host_name")),
        _port(where, problems),
        _text(described.get("timestamp")),
        tuple(problems),
    )


def _document(entry: Entry, problems: list[str]) -> dict[str, Any]:
    if entry.value is None:
        problems.append(f"{entry.key}: {entry.problem}")
        return {}
    try:
        document = msgspec.json.decode(entry.value)
    except (msgspec.DecodeError, RecursionError, ValueError):
        document = None
    if not isinstance(document, dict):
        problems.append(f"{entry.key}: {len(entry.value)} bytes that are no JSON object")
        return {}
    return document


def _protocol(described: Mapping[str, Any]) -> str:
    protocol = described.get("protocol")
    if isinstance(protocol, list):  # Several transports in one segment.
        return ",".join(text for text in map(_text, protocol) if text)
    return _text(protocol)


def _devices(described: Mapping[str, Any], problems: list[str]) -> tuple[SegmentDevice, ...]:
    return tuple(
        SegmentDevice(_text(one.get("name")), _text(one.get("gid")), _count(one.get("lid")))
        for one in _mappings(described, "devices", problems)
    )


def _buffers(described: Mapping[str, Any], problems: list[str]) -> tuple[SegmentBuffer, ...]:
    return tuple(
        SegmentBuffer(_text(one.get("name")), _count(one.get("addr", one.get("offset"))), _count(one.get("length")))
        for one in _mappings(described, "buffers", problems)
    )


def _mappings(described: Mapping[str, Any], key: str, problems: list[str]) -> list[dict[str, Any]]:
    values = described.get(key)
    if values is None:
        return []
    found = [one for one in values if isinstance(one, dict)] if isinstance(values, list) else []
    if not isinstance(values, list) or len(found) < len(values):
        problems.append(f"{key} is no list of JSON objects")
    return found


def _port(where: Mapping[str, Any], problems: list[str]) -> int:
    port = where.get("rpc_port")
    if port is not None and not 0 < _count(port) < 1 << 16:
        problems.append(f"rpc_port is {str(port)[:20]!r}, which is no port")
        return 0
    return _count(port)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0
