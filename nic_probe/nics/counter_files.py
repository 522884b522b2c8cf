"""Where the bytes of a port are counted: files, factors, and what kind of counter they are.

Files are found by existence, never by the name of a driver or device. Knows nothing of time: `port_counters`
reads them once, and the sampler of the live plots keeps the same files open.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from ..reading import Reading
from ..sources.files import HostFiles
from .device import PortCounters

__all__ = [
    "ALIASES",
    "SATURATED",
    "WORD_BYTES",
    "Alias",
    "CounterFile",
    "CounterSources",
    "counter_sources",
    "port_counters",
]

WORD_BYTES: Final = 4
"""Bytes of one count in the four files that the InfiniBand specification counts in words."""
SATURATED: Final = 0xFFFF_FFFF
"""Where a 32-bit counter of old firmware stops; it does not wrap."""
_ARPHRD_INFINIBAND: Final = 32
_LARGEST: Final = 1 << 64


@dataclass(frozen=True, slots=True)
class Alias:
    """The names of the byte counters in one driver's hw_counters.

    Attributes:
        label: whose names they are.
        tx: files that add up to the bytes sent; those that exist are added.
        rx: the same for the bytes received.
        beside: other counters, one of which must exist too; tells drivers with the same names apart.
    """

    label: str
    tx: tuple[str, ...]
    rx: tuple[str, ...]
    beside: tuple[str, ...] = ()


ALIASES: Final = (
    Alias("efa", ("tx_bytes",), ("rx_bytes",), ("send_bytes", "recv_bytes", "send_wrs", "rdma_read_bytes")),
    Alias(
        "bnxt_re", ("tx_bytes",), ("rx_bytes",), ("rx_roce_errors", "tx_roce_errors", "to_retransmits", "np_cnp_pkts")
    ),
    Alias("erdma", ("tx_bytes_cnt",), ("rx_bytes_cnt",)),
    # Alibaba's own driver, outside the kernel, sets a prefix before every name.
    Alias("erdma", ("hw_tx_bytes_cnt",), ("hw_rx_bytes_cnt",)),
    Alias("ionic", ("tx_rdma_ucast_bytes",), ("rx_rdma_ucast_bytes",)),
    Alias("irdma", ("ip4OutOctets", "ip6OutOctets"), ("ip4InOctets", "ip6InOctets")),
    Alias("rxe", ("sent_bytes",), ("rcvd_bytes",)),
    Alias("", ("tx_bytes",), ("rx_bytes",)),
)
"""The byte counters of hw_counters by driver; the first row whose files exist counts."""

# Kernels before 4.5 keep the 64-bit counters apart; where they are, those in counters/ have 32 bits.
_WORD_FILES: Final = (
    ("counters_ext", "port_xmit_data_64", "port_rcv_data_64"),
    ("counters", "port_xmit_data", "port_rcv_data"),
)


@dataclass(frozen=True, slots=True)
class CounterFile:
    """One file of a counter.

    Attributes:
        path: relative to the root of the file system.
        factor: bytes of one count.
    """

    path: str
    factor: int = 1


@dataclass(frozen=True, slots=True)
class CounterSources:
    """Where a port's traffic is counted.

    Attributes:
        kind: `port counters`, `hw_counters (efa)` or `netdev eth0 (includes non-RDMA)`; empty without a source.
        tx: files whose sum is what was sent, in bytes once each is multiplied by its factor.
        rx: the same for what was received.
        others: the file of every other counter by its own name.
        cached_ms: how long the kernel keeps a value of hw_counters before it asks the device again.
        reason: why there is no source; empty when there is one.
    """

    kind: str
    tx: tuple[CounterFile, ...] = ()
    rx: tuple[CounterFile, ...] = ()
    others: Mapping[str, str] = field(default_factory=dict)
    cached_ms: Reading[int] = Reading.unreadable("", "there are no hw_counters")  # noqa: RUF009
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Listing:
    """The counters of one folder that hold a number, by name."""

    folder: str
    values: Mapping[str, int]


def counter_sources(files: HostFiles, device: str, port: int, netdevs: tuple[str, ...]) -> CounterSources:
    """Returns where the bytes of a port are counted, in the order of trust.

    1. `port_xmit_data` and `port_rcv_data`, in words of 4 bytes, when both hold a number.
    2. The byte counters of `hw_counters` by `ALIASES`.
    3. The statistics of the port's interface, which include traffic that is not RDMA. Not those of IP over
       InfiniBand, which hold nothing else.

    Args:
        device: the RDMA device's name.
        port: from 1.
        netdevs: the port's interfaces, the most likely first.
    """
    listings = _listings(files, device, port)
    return _sources(files, listings, netdevs)


def port_counters(files: HostFiles, device: str, port: int, netdevs: tuple[str, ...]) -> PortCounters:
    """Returns the counters of a port at this moment; the arguments are those of `counter_sources`."""
    listings = _listings(files, device, port)
    sources = _sources(files, listings, netdevs)
    values = {f"{place.folder}/{name}": value for place in listings.values() for name, value in place.values.items()}
    others = {name: values[path] for name, path in sources.others.items()}
    if sources.cached_ms.value is not None:
        others["lifespan"] = sources.cached_ms.value
    return PortCounters(
        tx_bytes=_bytes(files, sources.tx, values, sources.reason),
        rx_bytes=_bytes(files, sources.rx, values, sources.reason),
        source=sources.kind,
        others=others,
    )


def _listings(files: HostFiles, device: str, port: int) -> dict[str, _Listing]:
    place = f"sys/class/infiniband/{device}/ports/{port}"
    names = ("counters", "counters_ext", "hw_counters")
    return {name: _Listing(f"{place}/{name}", _numbers(files.texts(f"{place}/{name}"))) for name in names}


def _sources(files: HostFiles, listings: Mapping[str, _Listing], netdevs: tuple[str, ...]) -> CounterSources:
    kind, tx, rx = _words(listings) or _aliased(listings["hw_counters"]) or _netdev(files, netdevs) or ("", (), ())
    used = {file.path for file in (*tx, *rx)} | {
        f"{listings[folder].folder}/{name}" for folder, *both in _WORD_FILES for name in both
    }
    others: dict[str, str] = {}
    for listing in listings.values():
        for name in listing.values:
            path = f"{listing.folder}/{name}"
            if path not in used and name != "lifespan":
                others.setdefault(name, path)
    vendor = listings["hw_counters"]
    lifespan = vendor.values.get("lifespan")
    source = f"/{vendor.folder}/lifespan"
    return CounterSources(
        kind=kind,
        tx=tx,
        rx=rx,
        others=others,
        cached_ms=Reading.unreadable(source, "does not exist") if lifespan is None else Reading(lifespan, source),
        reason="" if kind else "neither the port nor its interface counts bytes",
    )


_Found = tuple[str, tuple[CounterFile, ...], tuple[CounterFile, ...]]


def _words(listings: Mapping[str, _Listing]) -> _Found | None:
    for folder, tx, rx in _WORD_FILES:
        listing = listings[folder]
        if tx in listing.values and rx in listing.values:
            sent, received = (CounterFile(f"{listing.folder}/{name}", WORD_BYTES) for name in (tx, rx))
            return "port counters", (sent,), (received,)
    return None


def _aliased(listing: _Listing) -> _Found | None:
    for alias in ALIASES:
        tx = _existing(listing, alias.tx)
        rx = _existing(listing, alias.rx)
        if tx and rx and (not alias.beside or any(name in listing.values for name in alias.beside)):
            return (f"hw_counters ({alias.label})" if alias.label else "hw_counters"), tx, rx
    return None


def _existing(listing: _Listing, names: Iterable[str]) -> tuple[CounterFile, ...]:
    return tuple(CounterFile(f"{listing.folder}/{name}") for name in names if name in listing.values)


def _netdev(files: HostFiles, netdevs: tuple[str, ...]) -> _Found | None:
    for name in netdevs:
        folder = f"sys/class/net/{name}"
        if files.integer(f"{folder}/type").value == _ARPHRD_INFINIBAND:
            continue
        sent, received = f"{folder}/statistics/tx_bytes", f"{folder}/statistics/rx_bytes"
        if files.integer(sent).known and files.integer(received).known:
            return f"netdev {name} (includes non-RDMA)", (CounterFile(sent),), (CounterFile(received),)
    return None


def _bytes(files: HostFiles, parts: tuple[CounterFile, ...], values: Mapping[str, int], reason: str) -> Reading[int]:
    if not parts:
        return Reading.unreadable("counters", reason)
    total = 0
    for part in parts:
        count = values[part.path] if part.path in values else files.integer(part.path).value
        if count is None:
            return Reading.unreadable(f"/{part.path}", "could be read a moment ago and no longer")
        if part.factor == WORD_BYTES and count == SATURATED:
            return Reading.unreadable(f"/{part.path}", "stands at the most that 32 bits hold: it no longer counts")
        total += count * part.factor
    return Reading(total, " + ".join(f"/{part.path}" for part in parts))


def _numbers(texts: Mapping[str, Reading[str]]) -> dict[str, int]:
    """Returns the files that hold a count; `N/A (no PMA)` is how a driver says that it has none."""
    found: dict[str, int] = {}
    for name, reading in texts.items():
        text = reading.otherwise("")
        if text.isascii() and text.isdecimal() and len(text) <= 20 and (value := int(text)) < _LARGEST:
            found[name] = value
    return found
