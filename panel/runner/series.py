"""What is sampled: the series, their units and sources, and how an engine's metrics become values.

Pure: text and counters in, values out. `runner.sampler` collects, `runner.samples` keeps.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ..launch import LaunchPlan, Role

__all__ = ["HostUse", "Measured", "SeriesInfo", "Translator", "known_series", "parse_metrics"]

_LINE = re.compile(r'^([a-zA-Z_:][\w:]*)(?:\{((?:[^"}]|"(?:[^"\\]|\\.)*")*)\})?\s+(\S+)', re.MULTILINE)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_WANTED = frozenset(
    {
        "sglang:num_running_reqs",
        "sglang:num_queue_reqs",
        "sglang:prompt_tokens_total",
        "sglang:generation_tokens_total",
        "pdpanel_pages",
        "pdpanel_kv_bytes_total",
    }
)
_ENGINE = "engine /metrics"
_HOST = "host /proc"


@dataclass(frozen=True, slots=True)
class SeriesInfo:
    """What a series is.

    Attributes:
        source: where it comes from, in a few words.
        process: the process that it is about, if one.
        group: the chart that it belongs to; empty for none.
        total: True for the sum of the group's other series.
        limit: the most that it can be, in `unit`, such as a NIC's line rate; None where there is none.
    """

    key: str
    title: str
    unit: str
    source: str
    process: str = ""
    group: str = ""
    total: bool = False
    limit: float | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """One line of Prometheus text."""

    name: str
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class HostUse:
    """What a process's group has used: CPU seconds in total, and resident bytes now."""

    cpu_s: float
    rss_bytes: int


def parse_metrics(text: str) -> Iterator[Measured]:
    """Yields the samples of Prometheus `text` that a series is made of; other lines are passed over."""
    for name, labels, number in _LINE.findall(text):
        if name not in _WANTED:
            continue
        try:
            value = float(number)
        except ValueError:
            continue
        if value == value and abs(value) != float("inf"):
            yield Measured(name, dict(_LABEL.findall(labels)), value)


def known_series(plan: LaunchPlan) -> dict[str, SeriesInfo]:
    """Returns every series that a run of `plan` can have, by key."""
    series = [
        SeriesInfo("run/kv_bytes_per_s", "KV transfer, all links", "B/s", _ENGINE),
        SeriesInfo("run/generated_tokens_per_s", "Generated tokens, all workers", "tokens/s", _ENGINE),
        SeriesInfo("run/running", "Running requests, all workers", "requests", _ENGINE),
    ]
    series += [
        SeriesInfo(f"link/{link}/kv_bytes_per_s", f"KV {link.replace('>', ' to ')}", "B/s", _ENGINE)
        for link in (
            f"{sender.name}>{receiver.name}"
            for sender in plan.processes
            if sender.role is Role.PREFILL
            for receiver in plan.processes
            if receiver.role is Role.DECODE
        )
    ]
    for spec in plan.processes:
        name = spec.name
        series += [
            SeriesInfo(f"proc/{name}/cpu_percent", f"CPU of {name}", "%", _HOST, name),
            SeriesInfo(f"proc/{name}/rss_bytes", f"Memory of {name}", "B", _HOST, name),
        ]
        if spec.metrics_url:
            series += [
                SeriesInfo(f"proc/{name}/{key}", f"{title} of {name}", unit, _ENGINE, name)
                for key, title, unit in (
                    ("running", "Running requests", "requests"),
                    ("queued", "Queued requests", "requests"),
                    ("prompt_tokens_per_s", "Prompt tokens", "tokens/s"),
                    ("generated_tokens_per_s", "Generated tokens", "tokens/s"),
                    ("slot_pages_used", "Slot pages in use", "pages"),
                    ("staging_pages_used", "Staging pages in use", "pages"),
                )
            ]
    return {info.key: info for info in series}


class Translator:
    """Turns what was read at one moment into the values of one row; keeps the counters of the row before."""

    def __init__(self, plan: LaunchPlan) -> None:
        self._plan = plan
        self._roles = {spec.name: spec.role for spec in plan.processes}
        self._by_port = {spec.ports["http"]: spec.name for spec in plan.processes if "http" in spec.ports}
        self._counters: dict[tuple[str, ...], tuple[float, float]] = {}

    def row(self, t: float, metrics: Mapping[str, Iterable[Measured]], host: Mapping[str, HostUse]) -> dict[str, float]:
        """Returns the values at monotonic time `t`; a series without a value is left out: a gap.

        Args:
            t: seconds, monotonic.
            metrics: by process, what its /metrics said; a process that did not answer is left out.
            host: by process, what its group has used.
        """
        values: dict[str, float] = {}
        for name, use in host.items():
            values[f"proc/{name}/rss_bytes"] = float(use.rss_bytes)
            rate = self._rate(("cpu", name), use.cpu_s, t)
            if rate is not None:
                values[f"proc/{name}/cpu_percent"] = 100.0 * rate
        for name, measured in metrics.items():
            values |= self._of_worker(name, measured, t)
        for total, part, roles in (
            ("run/running", "running", (Role.PREFILL, Role.DECODE, Role.UNIFIED)),
            # Decode's stream begins with the token that prefill sampled: prefill's count would be a second
            # one.
            ("run/generated_tokens_per_s", "generated_tokens_per_s", (Role.DECODE, Role.UNIFIED)),
        ):
            keys = (f"proc/{name}/{part}" for name, role in self._roles.items() if role in roles)
            known = [values[key] for key in keys if key in values]
            if known:
                values[total] = sum(known)
        links = [value for key, value in values.items() if key.startswith("link/")]
        if links:
            values["run/kv_bytes_per_s"] = sum(links)
        return values

    def _of_worker(self, name: str, measured: Iterable[Measured], t: float) -> dict[str, float]:
        sums: dict[str, float] = {}
        # A counter appears with its first event. A link of a worker that answers has moved nothing until then: without
        # the zero, the first transfer would have no rate.
        counters = {f"link/{name}>{peer}/kv_bytes_per_s": 0.0 for peer in self._receivers(name)}
        for line in measured:
            match line.name:
                case "sglang:num_running_reqs":
                    _add(sums, f"proc/{name}/running", line.value)
                case "sglang:num_queue_reqs":
                    _add(sums, f"proc/{name}/queued", line.value)
                case "sglang:prompt_tokens_total":
                    _add(counters, f"proc/{name}/prompt_tokens_per_s", line.value)
                case "sglang:generation_tokens_total":
                    _add(counters, f"proc/{name}/generated_tokens_per_s", line.value)
                case "pdpanel_pages":
                    pool = line.labels.get("pool", "")
                    if pool in {"slot", "staging"} and line.labels.get("state") in {"held", "quarantined"}:
                        _add(sums, f"proc/{name}/{pool}_pages_used", line.value)
                case "pdpanel_kv_bytes_total":
                    peer = self._peer(line.labels.get("peer", ""))
                    if peer and self._roles[name] is Role.PREFILL and line.labels.get("direction") == "sent":
                        _add(counters, f"link/{name}>{peer}/kv_bytes_per_s", line.value)
        rates = ((key, self._rate((name, key), value, t)) for key, value in counters.items())
        return sums | {key: rate for key, rate in rates if rate is not None}

    def _receivers(self, name: str) -> list[str]:
        if self._roles[name] is not Role.PREFILL:
            return []
        return [other for other, role in self._roles.items() if role is Role.DECODE]

    def _peer(self, address: str) -> str:
        port = address.rpartition(":")[2]
        return self._by_port.get(int(port), "") if port.isascii() and port.isdigit() and len(port) <= 5 else ""

    def _rate(self, key: tuple[str, ...], value: float, t: float) -> float | None:
        before = self._counters.get(key)
        self._counters[key] = (t, value)
        # A counter that went down was started anew: what happened in between is unknown.
        if before is None or value < before[1] or t <= before[0]:
            return None
        return (value - before[1]) / (t - before[0])


def _add(values: dict[str, float], key: str, value: float) -> None:
    values[key] = values.get(key, 0.0) + value
