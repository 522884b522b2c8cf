"""The bytes that GPUs have moved over NVLink since somebody began to look: NVML tells rates, which are summed up here.

The driver is asked in a process of its own, which may hang; then the bytes are not known. Called by `prove` for
deployments with GPUs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from ...nic_probe.counters import LinkRate
from ...nic_probe.gpu_traffic import GpuTraffic
from .host_counters import Count
from .verdict import Counter

__all__ = ["NvlinkBytes", "Traffic"]

_PREFIX: Final = "nvlink "
_WAIT_S: Final = 1.0


class Traffic(Protocol):
    """What travels now; `nic_probe.gpu_traffic.GpuTraffic` is the real one."""

    def read(self, within_s: float) -> Mapping[str, LinkRate] | None:
        """Returns the newest rates, None when nothing is said in time; raises EOFError when there will be none."""
        ...

    def close(self) -> None:
        """Ends it."""
        ...


class NvlinkBytes:
    """Sums up from `start` to `close`.

    Args:
        environ: for the process that asks the driver.
        begin: makes what is read; replaced by tests.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        begin: Callable[[Mapping[str, str]], Traffic] = GpuTraffic,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._environ = environ
        self._begin = begin
        self._clock = clock
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._totals: dict[str, tuple[float, float] | None] = {}

    def start(self) -> None:
        """Begins; returns at once."""
        threading.Thread(target=self._follow, name="nvlink", daemon=True).start()

    def close(self) -> None:
        """Ends, within a second."""
        self._stop.set()

    def read(self) -> Mapping[str, Count]:
        """Returns the bytes so far of each GPU with NVLink, by kind and address."""
        with self._lock:
            totals = dict(self._totals)
        answer: dict[str, Count] = {}
        for key, total in totals.items():
            name = key.removeprefix(_PREFIX)
            reason = "" if total is not None else "NVML does not count it"
            answer[f"{Counter.NVLINK}/{name}"] = Count(Counter.NVLINK, name, "NVML", total, reason)
        return answer

    def _follow(self) -> None:
        traffic = self._begin(self._environ)
        before = self._clock()
        try:
            while not self._stop.is_set():
                rates = traffic.read(_WAIT_S)
                if rates is None:
                    continue
                now = self._clock()
                self.take(rates, now - before)
                before = now
        except EOFError:
            return
        finally:
            traffic.close()

    def take(self, rates: Mapping[str, LinkRate], seconds: float) -> None:
        """Adds what travelled for `seconds` at these rates; a GPU that was not counted once is not known any more."""
        with self._lock:
            for key, rate in rates.items():
                if not key.startswith(_PREFIX):
                    continue
                tx, rx = rate.tx.value, rate.rx.value
                if key not in self._totals:
                    self._totals[key] = (0.0, 0.0)  # The first rate has no count before it.
                    continue
                total = self._totals[key]
                if tx is None or rx is None or total is None:
                    self._totals[key] = None
                else:
                    self._totals[key] = (total[0] + tx * seconds, total[1] + rx * seconds)
