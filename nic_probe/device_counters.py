"""The counters of one device as something that is read again and again, and answers with rates.

What a link counts is the business of `counters_by_device`. Reading may hang in a driver: whoever samples gives each
device a thread of its own. Called by the samplers of the panel and of its runners.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

from .counters import CountedLink, CounterReader, CounterSample, LinkRate, rates
from .counters_by_device import CountedDevice, counted_links
from .sources.files import HostFiles

__all__ = ["DeviceCounters"]

_PERIOD_S: Final = 0.1
_LONGEST_PERIOD_S: Final = 1.0
# Over how long a rate is taken: some firmware updates its counters in batches.
_WINDOW_S: Final = 0.5
# How often a device is asked anew what it counts, since a driver may have been loaded anew.
_ASK_AGAIN_S: Final = 60.0


class DeviceCounters:
    """The counters of one device.

    Args:
        device: whose.
        files: the live host.
        root: the folder that stands for `/` to the reader.
        period_s: how often whoever samples means to read; longer for a device that refreshes its counters seldom.
    """

    counts = True

    def __init__(self, device: CountedDevice, files: HostFiles, root: str = "/", period_s: float = _PERIOD_S) -> None:
        self.name = device.name
        self.period_s = self._wished_s = period_s
        self._device = device
        self._files = files
        self._root = root
        self._reader: CounterReader | None = None
        self._links: tuple[CountedLink, ...] = ()
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
        self.period_s = max(self._wished_s, min(cached_s, _LONGEST_PERIOD_S))
