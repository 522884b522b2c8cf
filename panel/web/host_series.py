"""Samples the links of this host, whether or not a browser looks, and keeps the last minutes.

While nobody asks for the newest sample, devices are asked only as often as the kept minutes need.

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
from typing import Final

from ...nic_probe.counters import LinkRate
from .host_sources import TrafficSource, this_host_sources
from .port import HostTraffic, LinkTraffic

__all__ = ["HostSampler"]

_LOG = logging.getLogger(__name__)
_BEAT_S: Final = 0.5
_HISTORY: Final = 600
_SILENT_S: Final = 2.0
# While nobody looks each device is read this seldom; somebody looks who asked in the last seconds.
_UNSEEN_PERIOD_S: Final = 0.5
_LOOKED_S: Final = 5.0
# How often new devices are looked for, and how long one that failed is left alone.
_SEARCH_S: Final = 10.0
_RETRY_S: Final = 60.0


@dataclass(slots=True)
class _Followed:
    """A source with what it said.

    Attributes:
        since: when it was first asked, on the monotonic clock; `at` is when it answered last, `wall` the same for
            people.
        times: when its last reads ended.
        trouble: why it is not asked any more; it may be tried again at `retry_at`.
        ended: True once its thread has to leave.
    """

    source: TrafficSource
    since: float
    at: float | None = None
    wall: float = 0.0
    links: Mapping[str, LinkRate] = field(default_factory=dict)
    times: deque[float] = field(default_factory=lambda: deque(maxlen=20))
    trouble: str = ""
    retry_at: float = float("inf")
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
        # Set while somebody looks, and in the end.
        self._seen = threading.Event()
        self._looked_at = 0.0
        self._followed: dict[str, _Followed] = {}
        self._history: deque[HostTraffic] = deque(maxlen=_HISTORY)
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begins; returns at once."""
        self._thread("host-traffic", self._beat)

    def close(self) -> None:
        """Ends; a device that hangs keeps its thread, which is a daemon."""
        self._stop.set()
        self._seen.set()
        deadline = time.monotonic() + 1.0
        for thread in list(self._threads):
            thread.join(max(0.0, deadline - time.monotonic()))

    def latest(self) -> HostTraffic | None:
        """Returns what travels now, None before anything is known; never waits for a device.

        Whoever asks looks: for some seconds all devices are then read at their own periods.
        """
        self._looked_at = time.monotonic()
        self._seen.set()
        return self._latest()

    def _latest(self) -> HostTraffic | None:
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
            if time.monotonic() - self._looked_at > _LOOKED_S and not self._stop.is_set():
                self._seen.clear()
            traffic = self._latest()
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
                gone = name not in found or one.source.keys() != found[name].keys()
                if gone or time.monotonic() >= one.retry_at:
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
                self._rest(began, source.period_s)
        except EOFError:
            one.trouble = "nobody answers for it any more"
        except Exception as error:
            # One device must not end the sampling of the others.
            _LOG.exception("%s cannot be sampled", source.name)
            one.trouble = f"it cannot be sampled: {type(error).__name__}"
        finally:
            one.retry_at = time.monotonic() + _RETRY_S
            source.close()

    def _rest(self, began: float, period_s: float) -> None:
        """Waits until the read after the one that began at `began` is due; it is due sooner once somebody looks."""
        self._seen.wait(max(0.0, began + _UNSEEN_PERIOD_S - time.monotonic()))
        self._stop.wait(max(0.0, began + period_s - time.monotonic()))


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
