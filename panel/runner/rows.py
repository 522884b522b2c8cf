"""Turns what was read at one moment into the values of one row, and sums the processes up to the run's values.

Pure but for what it remembers of the look before. Knows quantities, never an engine's names for them; the sampler
calls it twice a second.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from ..launch import LaunchPlan, Role
from ..telemetry.histogram import Histogram, merged
from ..telemetry.rates import Rates, Windows
from ..telemetry.recognise import Reading
from .series import known_series, pairs

__all__ = ["HostUse", "Scraped", "Translator"]

_WINDOW_S: Final = 5.0
# A rank says every second what it has done; twice that without a word, and nobody knows.
_WORD_S: Final = 2.5
_WORKERS: Final = frozenset({Role.PREFILL, Role.DECODE, Role.UNIFIED})
# Decode's stream begins with the token that prefill sampled: prefill's count would be a second one.
_GENERATE: Final = frozenset({Role.DECODE, Role.UNIFIED})
_TAKE_PROMPTS: Final = frozenset({Role.PREFILL, Role.UNIFIED})
_ROUTERS: Final = frozenset({Role.ROUTER, Role.PROXY})
_RATES: Final = ("prompt_tokens", "generated_tokens")
# Counters of a rank, and the series that each becomes.
_OF_RANKS: Final = {
    "rank_compute_seconds": "compute_percent",
    "rank_wait_seconds": "wait_percent",
    "rank_kv_bytes": "kv_bytes_per_s",
}
# Who sends the client its first token, and so knows how long that took; prefill where no other is named.
_FIRST_TOKEN: Final = {"SGLang": _GENERATE}
_SHARES: Final = (("p50", 0.5), ("p99", 0.99))
# An event loop that takes up work later than this has other work, or no core: a free one needs a tenth of it.
_LATE_S: Final = 0.005


@dataclass(frozen=True, slots=True)
class HostUse:
    """What a process's group has used: CPU seconds in total, and resident bytes now."""

    cpu_s: float
    rss_bytes: int


@dataclass(frozen=True, slots=True)
class Scraped:
    """What a process' /metrics said at `at`, seconds of the monotonic clock."""

    at: float
    reading: Reading


class Translator:
    """Makes rows; keeps the counters and histograms of the looks before."""

    def __init__(self, plan: LaunchPlan) -> None:
        self._rates = Rates()
        self._windows = Windows(_WINDOW_S)
        self._shares: dict[str, tuple[float, float]] = {}
        self.replan(plan)

    def replan(self, plan: LaunchPlan) -> None:
        """Takes a changed plan; what is remembered of its processes stays."""
        self._roles = {spec.name: spec.role for spec in plan.processes}
        self._by_port = {spec.ports["http"]: spec.name for spec in plan.processes if "http" in spec.ports}
        self._receivers: dict[str, list[str]] = {}
        for sender, receiver in pairs(plan):
            self._receivers.setdefault(sender, []).append(receiver)
        self._known = known_series(plan).keys()

    def row(self, t: float, pages: Mapping[str, Scraped], use: Mapping[str, HostUse]) -> dict[str, float]:
        """Returns the values at monotonic time `t`; a series without a value is left out: a gap.

        Args:
            t: seconds, monotonic.
            pages: by process, what its /metrics said; a process that did not answer is left out.
            use: by process, what its group has used.
        """
        values: dict[str, float] = {}
        for name, used in use.items():
            values[f"proc/{name}/rss_bytes"] = float(used.rss_bytes)
            rate = self._rates.rate(("cpu", name), used.cpu_s, t)
            if rate is not None:
                values[f"proc/{name}/cpu_percent"] = 100.0 * rate
        observed: dict[str, dict[str, Histogram]] = {}
        counted: dict[str, dict[str, float]] = {}
        for name, page in pages.items():
            values |= self._of_process(name, page)
            counted[name] = self._events(name, page)
            observed[name] = self._observed(name, page)
            values |= _quantiles(f"proc/{name}", "transfer_latency", observed[name].get("transfer_latency"))
            values |= _of_loop(f"proc/{name}", observed[name].get("loop_lag"))
        values |= self._sums(values)
        values |= self._of_requests(counted)
        values |= self._of_latency(observed, {name: page.reading.engine for name, page in pages.items()})
        return values

    def _of_process(self, name: str, page: Scraped) -> dict[str, float]:
        said = page.reading.measurement
        values: dict[str, float] = {}
        for (quantity, split), value in said.gauges.items():
            key = f"proc/{name}/{quantity}"
            # Engines show the queues of the other role too, always empty.
            if key in self._known and not split:
                values[key] = value
        for quantity in _RATES:
            total = said.counters.get((quantity, ""))
            if total is not None:
                self._add_rate(values, f"proc/{name}/{quantity}_per_s", name, total, page.at)
        if self._roles.get(name) is Role.PREFILL:
            self._add_links(values, name, page)
        self._add_ranks(values, name, page)
        return values

    def _add_ranks(self, values: dict[str, float], name: str, page: Scraped) -> None:
        """Adds what each rank and each attention group of a worker does, where the plan has several."""
        said = page.reading.measurement
        for (quantity, split), value in said.gauges.items():
            place, _, part = quantity.partition("_")
            if split and (key := f"{place}/{name}/{split}/{part}") in self._known:
                values[key] = value
        for (quantity, split), total in said.counters.items():
            if not split or quantity not in _OF_RANKS:
                continue
            key = f"rank/{name}/{split}/{_OF_RANKS[quantity]}"
            if key not in self._known:
                continue
            if key.endswith("_percent"):
                self._add_share(values, key, total, said.counters.get(("rank_seconds", split), page.at), page.at)
            else:
                self._add_rate(values, key, name, total, page.at)

    def _add_share(self, values: dict[str, float], key: str, seconds: float, of: float, at: float) -> None:
        """Adds which share of its time a rank spends on something.

        Args:
            seconds: that it has spent so far.
            of: its age when it said that, which may be before `at`, when it was read.
        """
        rate = self._rates.rate(key, seconds, of)
        if rate is not None:
            self._shares[key] = (at, min(100.0, 100.0 * rate))
        said_at, share = self._shares.get(key, (float("-inf"), 0.0))
        # Until its next word the last one holds.
        if at - said_at < _WORD_S:
            values[key] = share

    def _add_links(self, values: dict[str, float], name: str, page: Scraped) -> None:
        receivers = self._receivers.get(name, [])
        said = page.reading.measurement.counters
        by_peer = {split: value for (quantity, split), value in said.items() if quantity == "kv_bytes"}
        whole = said.get(("kv_sent_bytes", ""))
        if by_peer or page.reading.engine == "pdpanel":
            # A counter appears with its first event. A link of a worker that answers has moved nothing until then:
            # without the zero, the first transfer would have no rate.
            totals = dict.fromkeys(receivers, 0.0)
            for peer, value in by_peer.items():
                receiver = self._peer(peer)
                if receiver in totals:
                    totals[receiver] += value
            for receiver, total in totals.items():
                self._add_rate(values, f"link/{name}>{receiver}/kv_bytes_per_s", name, total, page.at)
        elif whole is not None:
            # Who received it is not said; with one receiver there is no question.
            key = f"link/{name}>{receivers[0]}" if len(receivers) == 1 else f"proc/{name}"
            self._add_rate(values, f"{key}/kv_bytes_per_s", name, whole, page.at)

    def _add_rate(self, values: dict[str, float], key: str, name: str, total: float, at: float) -> None:
        rate = self._rates.rate((name, key), total, at)
        if rate is not None:
            values[key] = rate

    def _events(self, name: str, page: Scraped) -> dict[str, float]:
        rates: dict[str, float] = {}
        for quantity in ("requests", "failed"):
            total = page.reading.measurement.counters.get((quantity, ""))
            rate = None if total is None else self._rates.rate((name, quantity), total, page.at)
            if rate is not None:
                rates[quantity] = rate
        return rates

    def _observed(self, name: str, page: Scraped) -> dict[str, Histogram]:
        found: dict[str, Histogram] = {}
        for quantity, histogram in page.reading.measurement.histograms.items():
            new = self._windows.observed((name, quantity), histogram, page.at)
            if new is not None:
                found[quantity] = new
        return found

    def _sums(self, values: Mapping[str, float]) -> dict[str, float]:
        sums: dict[str, float] = {}
        for part, roles in (
            ("running", _WORKERS),
            ("prompt_tokens_per_s", _TAKE_PROMPTS),
            ("generated_tokens_per_s", _GENERATE),
        ):
            known = [values[key] for name in self._of(roles) if (key := f"proc/{name}/{part}") in values]
            if known:
                sums[f"run/{part}"] = sum(known)
        kv = [value for key, value in values.items() if key.endswith("/kv_bytes_per_s") and not key.startswith("rank/")]
        if kv:
            sums["run/kv_bytes_per_s"] = sum(kv)
        return sums

    def _of_requests(self, counted: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        values: dict[str, float] = {}
        for quantity in ("requests", "failed"):
            # A router sees each request once; without one, the workers that end it do.
            for roles in (_ROUTERS, _GENERATE):
                known = [counted[name][quantity] for name in self._of(roles) if quantity in counted.get(name, {})]
                if known:
                    values[f"run/{quantity}_per_s"] = sum(known)
                    break
        return values

    def _of_latency(
        self, observed: Mapping[str, Mapping[str, Histogram]], engines: Mapping[str, str]
    ) -> dict[str, float]:
        first = next((_FIRST_TOKEN[engine] for engine in engines.values() if engine in _FIRST_TOKEN), _TAKE_PROMPTS)
        values: dict[str, float] = {}
        for quantity, ways in (
            ("ttft", (_ROUTERS, first)),
            ("itl", (_GENERATE,)),
            ("e2e", (_ROUTERS, _GENERATE)),
            ("transfer_latency", (frozenset({Role.PREFILL}),)),
        ):
            values |= _quantiles("run", quantity, self._merged(observed, quantity, ways))
        size = self._merged(observed, "transfer_size", (frozenset({Role.PREFILL}),))
        mean = size.mean() if size is not None else None
        if mean is not None:
            values["run/transfer_bytes_per_request"] = mean
        return values

    def _merged(
        self, observed: Mapping[str, Mapping[str, Histogram]], quantity: str, ways: Iterable[frozenset[Role]]
    ) -> Histogram | None:
        for roles in ways:
            found = merged(observed[name][quantity] for name in self._of(roles) if quantity in observed.get(name, {}))
            if found is not None and found.count > 0:  # a router sees first tokens of streams alone
                return found
        return None

    def _of(self, roles: frozenset[Role]) -> list[str]:
        return [name for name, role in self._roles.items() if role in roles]

    def _peer(self, address: str) -> str:
        port = address.rpartition(":")[2]
        return self._by_port.get(int(port), "") if port.isascii() and port.isdigit() and len(port) <= 5 else ""


def _quantiles(place: str, quantity: str, histogram: Histogram | None) -> dict[str, float]:
    if histogram is None:
        return {}
    found = {f"{place}/{quantity}_{word}_s": histogram.quantile(share) for word, share in _SHARES}
    return {key: value for key, value in found.items() if value is not None}


def _of_loop(place: str, lag: Histogram | None) -> dict[str, float]:
    """Returns how late an event loop takes up work in the mean, and for which share of the time it is late."""
    mean, late = (lag.mean(), lag.share_above(_LATE_S)) if lag is not None else (None, None)
    if mean is None or late is None:
        return {}
    return {f"{place}/loop_lag_s": mean, f"{place}/loop_late_percent": 100.0 * late}
