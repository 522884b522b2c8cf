"""SGLang's heartbeat: decode asks every prefill worker's bootstrap server for /health, and gives up silent ones.

SGLANG_DISAGGREGATION_HEARTBEAT_INTERVAL and HEARTBEAT_MAX_FAILURE govern this check alone, as they do in SGLang
(sglang-wire.md 7.3). It notices a bootstrap server that no longer serves; dead and stopped workers are noticed much
sooner by `silence`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from aiohttp import ClientError, ClientSession, ClientTimeout

__all__ = ["BootstrapHealth"]

_TIMEOUT = ClientTimeout(connect=2.0, sock_read=3.0)


class BootstrapHealth:
    """Asks at intervals.

    Args:
        interval_s: between two rounds.
        max_failures: misses in a row after which a peer is lost.
        peers: the bootstrap addresses to ask.
        lost: is told the address and why.
    """

    def __init__(
        self,
        interval_s: float,
        max_failures: int,
        peers: Callable[[], Collection[str]],
        lost: Callable[[str, str], None],
    ) -> None:
        self._interval_s = interval_s
        self._max_failures = max_failures
        self._peers = peers
        self._lost = lost
        self._misses: dict[str, int] = {}

    async def run(self) -> None:
        """Asks until cancelled."""
        async with ClientSession(timeout=_TIMEOUT, trust_env=False) as session:
            while True:
                await asyncio.sleep(self._interval_s)
                peers = tuple(self._peers())
                answers = await asyncio.gather(*(self._ask(session, peer) for peer in peers))
                self.take(dict(zip(peers, answers, strict=True)))

    async def _ask(self, session: ClientSession, peer: str) -> str:
        """Returns what is wrong, in words, or nothing."""
        try:
            async with session.get(f"http://{peer}/health") as answer:
                return "" if answer.status == 200 else f"status {answer.status}"
        except TimeoutError:
            return "no answer in time"
        except (ClientError, OSError) as error:
            return str(error) or type(error).__name__

    def take(self, answers: dict[str, str]) -> None:
        """Counts a round's misses; peers that were not asked are forgotten.

        Args:
            answers: what is wrong by peer; empty text for a healthy one.
        """
        self._misses = {peer: self._misses.get(peer, 0) + 1 for peer, problem in answers.items() if problem}
        for peer, count in tuple(self._misses.items()):
            if count >= self._max_failures:
                del self._misses[peer]
                self._lost(peer, f"{count} checks of http://{peer}/health failed in a row ({answers[peer]})")
