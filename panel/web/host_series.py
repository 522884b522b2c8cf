"""Samples the links of this host, whether or not a browser looks, and keeps the last minutes.

Each device is sampled in a thread of its own, since reading a counter may be a firmware command, or hang: a device
that does not answer becomes a gap with that reason, and holds up no other. What a link counts is the business of
`nic_probe`; the values are those of `port`. Started and ended by `source`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from ...nic_probe.counters import CounterReader, CounterSample, LinkRate, rates
from ...nic_probe.counters_by_device import CountedDevice, counted_devices, counted_links
from ...nic_probe.gpu_traffic import GpuTraffic
from ...nic_probe.sources.files import HostFiles
from ..config import inherited_environment
from .port import HostTraffic, LinkTraffic

__all__ = ["DeviceCounters", "HostSampler", "TrafficSource", "this_host_sources"]

_LOG = logging.getLogger(__name__)
_PERIOD_S: Final = 0.1
# Over how long a rate is taken: some firmware updates its counters in batches.
_WINDOW_S: Final = 0.5
_BEAT_S: Final = 0.5
_HISTORY: Final = 600
_SILENT_S: Final = 2.0
# How often new devices are looked for, and a device asked anew what it counts.
_SEARCH_S: Final = 10.0
_ASK_AGAIN_S: Final = 60.0


class TrafficSource(Protocol):
    """One device; all but `keys` is called from one thread, which `read` may hold for ever.

    Attributes:
        name: tells it from other sources.
        period_s: how long to wait from the begin of one read to the next.
        counts: True when its reads are samples of counters, whose number per second is shown.
    """

    name: str
    period_s: float
    counts: bool

    def keys(self) -> Sequence[str]:
        """Returns the names of the links that are known before it has answered."""
        ...

    def read(self) -> Mapping[str, LinkRate] | None:
        """Returns what travels now; None when it is too early to tell. Raises EOFError when there will be no more."""
        ...

    def close(self) -> None:
        """Lets go of the device."""
        ...


class DeviceCounters:
    """The counters of one device.

    Args:
        device: whose.
        files: the live host.
        root: the folder that stands for `/` to the reader.
    """

    counts = True

    def __init__(self, device: CountedDevice, files: HostFiles, root: str = "/") -> None:
        self.name = device.name
        self.period_s = _PERIOD_S
        self._device = device
        self._files = files
        self._root = root
        self._reader: CounterReader | None = None
        self._links: Sequence[object] = ()
        self._ask_at = 0.0
        self._samples: deque[CounterSample] = deque()

    def keys(self) -> Sequence[str]:
        """Returns the names of its ports and interfaces."""
        return self._device.keys

    def read(self) -> Mapping[str, LinkRate] | None:
        """Returns the rates since half a second ago, or since the first sample."""
        now = time.monotonic()
        if now >= self._ask_at or self._reader is None:
            self._ask()
            self._ask_at = time.monotonic() + _ASK_AGAIN_S
        assert self._reader is not None
        newest = self._reader.sample()
        while len(self._samples) > 1 and newest.at - self._samples[1].at >= _WINDOW_S:
            self._samples.popleft()
        self._samples.append(newest)
        return rates(self._samples[0], newest) if len(self._samples) > 1 else None

    def close(self) -> None:
        """Closes the files."""
        if self._reader is not None:
            self._reader.close()

    def _ask(self) -> None:
        links = counted_links(self._files, self._device)
        if self._reader is not None and links == self._links:
            return
        self.close()
        self._reader = CounterReader(links, self._root)
        self._links = links
        self._samples.clear()
        # Vendor counters are not asked for again before that time.
        cached_s = max((link.sources.cached_ms.otherwise(0) / 1e3 for link in links), default=0.0)
        self.period_s = max(_PERIOD_S, min(cached_s, _SILENT_S / 2))


class _GpuLinks:
    """NVLink and PCIe of all GPUs, from the process that asks NVML."""

    name = "gpus"
    counts = False
    period_s = 0.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._traffic: GpuTraffic | None = None

    def keys(self) -> Sequence[str]:
        return ()

    def read(self) -> Mapping[str, LinkRate] | None:
        if self._traffic is None:
            self._traffic = GpuTraffic(self._environ, _BEAT_S)
        return self._traffic.read(within_s=_BEAT_S)

    def close(self) -> None:
        if self._traffic is not None:
            self._traffic.close()


def this_host_sources() -> Sequence[TrafficSource]:
    """Returns the devices that this host has now; asks no driver."""
    files = HostFiles()
    counters = [DeviceCounters(device, files) for device in counted_devices(files)]
    nvidia = files.exists("proc/driver/nvidia/version") or files.exists("dev/nvidiactl") or files.exists("dev/dxg")
    return [*counters, *([_GpuLinks(inherited_environment())] if nvidia else [])]


@dataclass(slots=True)
class _Followed:
    """A source with what it said.

    Attributes:
        since: when it was first asked, on the monotonic clock; `at` is when it answered last.
        wall: the same as `at` for people.
        trouble: why it is not asked any more.
    """

    source: TrafficSource
    since: float
    at: float | None = None
    wall: float = 0.0
    links: Mapping[str, LinkRate] = field(default_factory=dict)
    times: deque[float] = field(default_factory=lambda: deque(maxlen=20))
    trouble: str = ""
    ended: bool = False


class HostSampler:
    """Samples the host from `start` to `close`.

    Args:
        find: returns the sources that there are now; called again and again.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        find: Callable[[], Sequence[TrafficSource]] = this_host_sources,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._find = find
        self._clock = clock
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._followed: dict[str, _Followed] = {}
        self._history: deque[HostTraffic] = deque(maxlen=_HISTORY)
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begins; returns at once."""
        self._thread("host-traffic", self._beat)

    def close(self) -> None:
        """Ends; a device that hangs keeps its thread, which is a daemon."""
        self._stop.set()
        deadline = time.monotonic() + 1.0
        for thread in list(self._threads):
            thread.join(max(0.0, deadline - time.monotonic()))

    def latest(self) -> HostTraffic | None:
        """Returns what travels now, None before anything is known; never waits for a device."""
        now = time.monotonic()
        with self._lock:
            followed = [one for one in self._followed.values() if not one.ended]
            links = {key: link for one in followed for key, link in _traffic_of(one, now).items()}
            at = max((one.wall for one in followed), default=0.0)
            hertz = [rate for one in followed if (rate := _hertz(one, now)) is not None]
        return HostTraffic(at or self._clock(), round(min(hertz, default=0.0), 1), links) if links else None

    def history(self) -> tuple[HostTraffic, ...]:
        """Returns the last five minutes, two samples a second, oldest first."""
        with self._lock:
            return tuple(self._history)

    def _thread(self, name: str, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, name=name, daemon=True)
        self._threads = [one for one in self._threads if one.is_alive()]
        self._threads.append(thread)
        thread.start()

    def _beat(self) -> None:
        search_at = 0.0
        while not self._stop.is_set():
            if time.monotonic() >= search_at:
                self._search()
                search_at = time.monotonic() + _SEARCH_S
            traffic = self.latest()
            if traffic is not None:
                with self._lock:
                    self._history.append(traffic)
            self._stop.wait(_BEAT_S)

    def _search(self) -> None:
        try:
            found = {source.name: source for source in self._find()}
        except Exception:
            # Whatever is wrong with the list, the devices of the last one are sampled on.
            _LOG.exception("the devices of this host cannot be listed")
            return
        with self._lock:
            for name, one in list(self._followed.items()):
                if name not in found or one.source.keys() != found[name].keys():
                    one.ended = True
                    del self._followed[name]
            fresh = [source for name, source in found.items() if name not in self._followed]
            entries = [_Followed(source, time.monotonic()) for source in fresh]
            self._followed.update((one.source.name, one) for one in entries)
        for one in entries:
            self._thread(f"traffic {one.source.name}", lambda one=one: self._follow(one))

    def _follow(self, one: _Followed) -> None:
        source = one.source
        try:
            while not (self._stop.is_set() or one.ended):
                began = time.monotonic()
                links = source.read()
                now = time.monotonic()
                with self._lock:
                    one.times.append(now)
                    if links is not None:
                        one.links, one.at, one.wall = links, now, self._clock()
                self._stop.wait(max(0.0, source.period_s - (now - began)))
        except EOFError:
            one.trouble = "is not there"
        except Exception as error:
            _LOG.exception("%s cannot be sampled", source.name)
            one.trouble = f"cannot be sampled: {type(error).__name__}"
        finally:
            source.close()


def _traffic_of(one: _Followed, now: float) -> dict[str, LinkTraffic]:
    """Returns the links of one source; those of one that is silent are gaps."""
    if one.at is not None and not one.trouble and now - one.at <= _patience(one):
        return {key: _link_traffic(rate) for key, rate in one.links.items()}
    since = one.since if one.at is None else one.at
    if not one.trouble and now - since <= _patience(one):
        return {}
    reason = one.trouble or f"the device has not answered for {now - since:.0f} s"
    keys = one.links or dict.fromkeys(one.source.keys())
    return {key: LinkTraffic(None, None, rate.source if rate else "", reason) for key, rate in keys.items()}


def _link_traffic(rate: LinkRate) -> LinkTraffic:
    source = f"{rate.source}; {rate.note}" if rate.note else rate.source
    return LinkTraffic(rate.tx.value, rate.rx.value, source, rate.tx.reason or rate.rx.reason)


def _patience(one: _Followed) -> float:
    return max(_SILENT_S, 3 * one.source.period_s)


def _hertz(one: _Followed, now: float) -> float | None:
    """Returns the samples per second of a device that answers."""
    if not one.source.counts or len(one.times) < 2 or one.trouble or now - one.times[-1] > _patience(one):
        return None
    return (len(one.times) - 1) / max(one.times[-1] - one.times[0], 1e-9)
