"""Keeps the counters of a simulated host alive while no run makes traffic on it: a little noise on every port.

Runs write the traffic of their engines themselves; this is for the time in which there is none. The web part starts it.
"""

from __future__ import annotations

import logging
import threading
from typing import Final

from .simulation import Simulation
from .ticker import Ticker

__all__ = ["IdleCounters"]

_LOG = logging.getLogger(__name__)
_PERIOD_S: Final = 0.25
_RETRY_S: Final = 10.0


class IdleCounters:
    """Ticks from `start` to `close`.

    Args:
        simulation: the host.
    """

    def __init__(self, simulation: Simulation) -> None:
        self._ticker = Ticker(simulation)
        self._stop = threading.Event()

    def start(self) -> None:
        """Begins; returns at once."""
        threading.Thread(target=self._beat, name="simulated counters", daemon=True).start()

    def close(self) -> None:
        """Ends."""
        self._stop.set()

    def _beat(self) -> None:
        pause_s = _PERIOD_S
        while not self._stop.wait(pause_s):
            try:
                self._ticker.tick()
                pause_s = _PERIOD_S
            except OSError:
                # A disk that is full makes the counters stand still, nothing more.
                _LOG.warning("the counters of the simulated host cannot be written", exc_info=True)
                pause_s = _RETRY_S
