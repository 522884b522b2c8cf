"""What a load is: where it goes, how requests arrive, how long they are, when it ends.

A frozen value and the rules that it must keep; knows no network. The command line, the REST routes and the job files
make it, `checked` judges it once for all of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

from ...engine.errors import ConfigError
from .lengths import parse_lengths

__all__ = ["Arrival", "LoadSpec", "Route", "checked", "clean_url"]

_MOST_RATE = 10_000.0
_MOST_CONCURRENCY = 4096
_MOST_REQUESTS = 1_000_000
_MOST_SECONDS = 86_400.0


class Arrival(StrEnum):
    """When requests are sent."""

    CONCURRENCY = "concurrency"
    """The next one when one ends, so that always as many are under way."""
    POISSON = "poisson"
    """At a rate, with random gaps (exponential), as independent people send them."""
    CONSTANT = "constant"
    """At a rate, with equal gaps."""
    BURST = "burst"
    """All at once."""


class Route(StrEnum):
    """Which API is asked."""

    COMPLETIONS = "completions"
    CHAT = "chat"
    GENERATE = "generate"

    @property
    def path(self) -> str:
        """The path of the route on the server."""
        return {"completions": "/v1/completions", "chat": "/v1/chat/completions", "generate": "/generate"}[self.value]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSpec:
    """One load.

    Attributes:
        url: of the server, without the route.
        model: as requests name it; empty takes the one that the server lists first.
        rate: requests/s on average, for the arrivals at a rate.
        concurrency: requests under way at once; for arrivals at a rate the most of them, None without a limit.
        requests: how many are sent; duration_s: how long requests are sent. Whichever is reached first ends the load.
        warmup: requests that are sent before and not counted.
        input: lengths of the prompts, output those of the answers, as `parse_lengths` reads them.
        prompts: a file of prompts; empty makes random ones.
        ignore_eos: asks for answers of exactly the wanted length, which OpenAI's own API does not know.
        slo_ttft_ms: the most time to the first token, slo_itl_ms the most mean time between tokens, that a request
            may take to count as good; None sets no limit.
        timeout_s: who has no end after so long has failed.
    """

    url: str
    model: str = ""
    route: Route = Route.COMPLETIONS
    arrival: Arrival = Arrival.CONCURRENCY
    rate: float | None = None
    concurrency: int | None = None
    requests: int | None = None
    duration_s: float | None = None
    warmup: int = 1
    input: str = "128"
    output: str = "64"
    prompts: str = ""
    seed: int = 0
    temperature: float = 0.0
    ignore_eos: bool = True
    slo_ttft_ms: float | None = None
    slo_itl_ms: float | None = None
    timeout_s: float = 600.0


def clean_url(field: str, text: str) -> str:
    """Returns the base URL in a text, without a route that clients like to add; raises ConfigError for none."""
    url = text.strip().rstrip("/")
    for route in Route:
        url = url.removesuffix(route.path)
    url = url.removesuffix("/v1").rstrip("/")
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    else:
        usable = usable and not (parts.query or parts.fragment or parts.username)
    if not usable or len(url) > 2000 or not url.isprintable():
        raise ConfigError(field, text, "is no URL of a server", "write it as http://HOST:PORT")
    return url


def checked(spec: LoadSpec) -> LoadSpec:
    """Returns the spec; raises ConfigError for the first field that cannot be.

    A closed load without a concurrency gets 1, and one without an end 64 requests (those of a burst too).
    """
    from dataclasses import replace

    if spec.arrival in (Arrival.POISSON, Arrival.CONSTANT):
        _within("rate", spec.rate, _MOST_RATE, "requests/s")
    elif spec.rate is not None:
        remedy = "leave it out, or choose arrivals by poisson or constant"
        raise ConfigError("rate", spec.rate, f"has no meaning for arrivals by {spec.arrival}", remedy)
    if spec.concurrency is not None:
        _within("concurrency", spec.concurrency, _MOST_CONCURRENCY, "requests at once")
    if spec.requests is not None:
        _within("requests", spec.requests, _MOST_REQUESTS, "requests")
    if spec.duration_s is not None:
        _within("duration", spec.duration_s, _MOST_SECONDS, "s")
    _within("timeout", spec.timeout_s, _MOST_SECONDS, "s")
    if not 0 <= spec.warmup <= 10_000:
        raise ConfigError("warmup", spec.warmup, "is not between 0 and 10000 requests", "choose a number in that range")
    if not 0 <= spec.temperature <= 2:
        raise ConfigError("temperature", spec.temperature, "is not between 0 and 2", "write 0 for greedy answers")
    parse_lengths("input", spec.input)
    parse_lengths("output", spec.output)
    for name, limit in (("slo-ttft", spec.slo_ttft_ms), ("slo-itl", spec.slo_itl_ms)):
        if limit is not None:
            _within(name, limit, _MOST_SECONDS * 1000, "ms")
    concurrency = spec.concurrency
    if spec.arrival is Arrival.CONCURRENCY and concurrency is None:
        concurrency = 1
    requests = spec.requests
    if requests is None and (spec.duration_s is None or spec.arrival is Arrival.BURST):
        requests = 64
    return replace(spec, url=clean_url("url", spec.url), concurrency=concurrency, requests=requests)


def _within(field: str, value: float | None, most: float, unit: str) -> None:
    if value is None:
        raise ConfigError(field, value, "is not given", f"give it in {unit}")
    if not math.isfinite(value) or not 0 < value <= most:
        problem = f"is not above 0 and at most {most:g} {unit}"
        raise ConfigError(field, value, problem, "choose a value in that range")
