"""The test requests of a proof, and what the engine says that they moved: HTTP to the run's own router and workers.

Prompts are long, so that their KV stands out, and new each time, so that no prefix cache answers for them. Blocks;
called in a thread.
"""

from __future__ import annotations

import json
import random
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from ...engine.errors import PeerError
from ..attach.key_file import NO_KEY, HeadersOf
from ..launch import LaunchPlan, Role
from ..telemetry.recognise import MetricsReader

__all__ = ["Answered", "EngineBytes", "Requests"]

_TIMEOUT_S: Final = 180.0
_SCRAPE_TIMEOUT_S: Final = 5.0
_MOST_BYTES: Final = 8 << 20
_WORDS: Final = ("river", "stone", "cloud", "green", "paper", "winter", "seven", "light", "road", "music", "bread")
_FEWEST: Final = 40
# The first comes from prefill alone.
_TOKENS: Final = 2


@dataclass(frozen=True, slots=True)
class Answered:
    """A test request that was answered; 0 prompt tokens where the answer does not count them."""

    prompt_tokens: int


class Requests:
    """Asks the router of a run.

    Args:
        plan: of the run.
        headers: what a question for a URL carries, such as a key.
        words: of the first prompt; fewer once the model has taken no such long one.
        choose: returns a random number below another; replaced by tests.
    """

    def __init__(
        self,
        plan: LaunchPlan,
        headers: HeadersOf = NO_KEY.headers,
        words: int = 500,
        choose: Callable[[int], int] = random.randrange,
    ) -> None:
        self._url = plan.router_url.rstrip("/")
        self._headers = headers
        self._words = words
        self._choose = choose
        self._model = ""

    def ask(self) -> Answered:
        """Sends one request and waits for its answer; raises PeerError when the deployment does not give one."""
        if not self._model:
            self._model = self._served_model()
        while True:
            body = {"model": self._model, "prompt": self._prompt(), "max_tokens": _TOKENS, "temperature": 0}
            try:
                answer = _fetch(f"{self._url}/v1/completions", _TIMEOUT_S, self._headers, json.dumps(body).encode())
            except urllib.error.HTTPError as error:
                # Too long for this model, in whatever words it says so.
                if error.code in {400, 413, 422} and self._words > _FEWEST:
                    self._words //= 2
                    continue
                raise PeerError(f"The router answered a test request with status {error.code}.") from None
            except (OSError, ValueError) as error:
                raise PeerError(f"The router at {self._url} did not answer a test request: {_why(error)}.") from None
            return Answered(_prompt_tokens(answer))

    def _prompt(self) -> str:
        number = self._choose(1 << 62)
        words = (_WORDS[self._choose(len(_WORDS))] for _ in range(self._words))
        return f"{number} {' '.join(words)}"

    def _served_model(self) -> str:
        try:
            served = json.loads(_fetch(f"{self._url}/v1/models", _SCRAPE_TIMEOUT_S, self._headers))["data"][0]["id"]
        except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
            raise PeerError(f"The router at {self._url} names no model: {_why(error)}.") from None
        return str(served)


class EngineBytes:
    """The KV bytes that the prefill workers of a run say they have sent so far.

    Attributes:
        source: where they are read, for people.
    """

    def __init__(self, plan: LaunchPlan, headers: HeadersOf = NO_KEY.headers) -> None:
        self._headers = headers
        senders = [spec for spec in plan.processes if spec.role is Role.PREFILL and spec.metrics_url]
        self._names = [spec.name for spec in senders]
        self._urls = [spec.metrics_url for spec in senders]
        self._readers = [MetricsReader() for _ in senders]
        self.source = f"/metrics of {', '.join(spec.name for spec in senders)}" if senders else ""

    def by_peer(self) -> dict[tuple[str, str], float]:
        """Returns what was sent, by the sender's name and the receiver's address, empty where that is not said.

        A worker that does not answer is left out.
        """
        found: dict[tuple[str, str], float] = {}
        for name, url, reader in zip(self._names, self._urls, self._readers, strict=True):
            try:
                counters = reader.read(_fetch(url, _SCRAPE_TIMEOUT_S, self._headers)).measurement.counters
            except (OSError, ValueError):
                continue
            sent = {(name, peer): value for (quantity, peer), value in counters.items() if quantity == "kv_bytes"}
            whole = counters.get(("kv_sent_bytes", ""))
            found |= sent or ({(name, ""): whole} if whole is not None else {})
        return found

    def read(self) -> float | None:
        """Returns the sum over all workers, None as soon as one does not say."""
        total = 0.0
        for url, reader in zip(self._urls, self._readers, strict=True):
            try:
                said = reader.read(_fetch(url, _SCRAPE_TIMEOUT_S, self._headers))
            except (OSError, ValueError):
                return None
            counters = said.measurement.counters
            by_peer = [value for (quantity, _), value in counters.items() if quantity == "kv_bytes"]
            whole = counters.get(("kv_sent_bytes", ""))
            if by_peer:
                total += sum(by_peer)
            elif whole is not None:
                total += whole
            else:
                return None
        return total if self._urls else None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is an answer like another: it would take the key to a host that it is not for."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def _fetch(url: str, timeout_s: float, headers: HeadersOf, body: bytes | None = None) -> bytes:
    # Proxies of the environment are for the way out, not for a router on this host.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect())
    kind = {"Content-Type": "application/json"} if body else {}
    request = urllib.request.Request(url, body, {**kind, **headers(url)})
    with opener.open(request, timeout=timeout_s) as answer:
        data: bytes = answer.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise ValueError("the answer is too long")
    return data


def _prompt_tokens(answer: bytes) -> int:
    try:
        usage: Any = json.loads(answer)["usage"]["prompt_tokens"]
        return int(usage)
    except (ValueError, KeyError, TypeError):
        return 0


def _why(error: Exception) -> str:
    reason = getattr(error, "reason", error)
    text = " ".join(str(getattr(reason, "strerror", None) or reason).split())
    return text[:200] or type(error).__name__
