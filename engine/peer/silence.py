"""How long a peer may say nothing: our own ping between workers, noticed within two seconds.

A peer that was stopped keeps its sockets open, so only its silence tells. The other way round, a process that slept
itself (SIGSTOP, a paused virtual machine, an event loop that was held up) has no right to call its peer silent: what
the peer said meanwhile still waits in the kernel. Pure: the clock's value is passed in.
"""

from __future__ import annotations

__all__ = ["LOST_S", "PING_S", "Silence"]

PING_S = 0.5
LOST_S = 2.0
# Above PING_S between two beats of our own, and we were the one that slept.
_OWN_GAP_S = 0.5


class Silence:
    """Watches one peer.

    Args:
        now: when the peer was last heard.
    """

    def __init__(self, now: float) -> None:
        self._heard = now
        self._beaten = now

    def heard(self, now: float) -> None:
        """The peer said something."""
        self._heard = now

    def beat(self, now: float) -> None:
        """This process runs; to be called every PING_S."""
        if now - self._beaten > PING_S + _OWN_GAP_S:
            self._heard = now
        self._beaten = now

    def left(self, now: float) -> float:
        """Returns the seconds until the peer is lost; 0 or less when it is."""
        if now - self._beaten > PING_S + _OWN_GAP_S:  # the beat that is due has not come yet
            return LOST_S
        return self._heard + LOST_S - now
