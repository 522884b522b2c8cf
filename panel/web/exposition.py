"""The panel's own /metrics page: Prometheus text from views and samples. Pure: values in, text out.

Labels are names that the panel knows (runs, processes, links), escaped and redacted; no label holds a model's text, a
path or an address. The newest runs and a bounded count of their processes are told one by one, the rest as sums.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..redact import redact
from .port import HostTraffic, RunView

__all__ = ["FAMILIES", "MOST_PROCESSES", "MOST_RUNS", "OwnFacts", "metrics_text"]

MOST_RUNS = 32
MOST_PROCESSES = 256
_MOST_LINKS = 256
_LONGEST_LABEL = 120

# Name: (type, help). A name here is a name on the page, whether or not there is a value now.
FAMILIES: Mapping[str, tuple[str, str]] = {
    "pdpanel_build_info": ("gauge", "Version of the panel."),
    "pdpanel_runs": ("gauge", "Runs by state."),
    "pdpanel_processes": ("gauge", "Processes of runs that have not ended, by role and state."),
    "pdpanel_run_up": (
        "gauge",
        "1 for a ready run, 0 for another; stopped ones are left out.",
    ),
    "pdpanel_process_up": ("gauge", "1 for a process that is ready, 0 for one that is not."),
    "pdpanel_process_crashed": ("gauge", "1 for a process that ended by itself and is not started again."),
    "pdpanel_process_restarts_total": ("counter", "How often the panel's runner started a process anew."),
    "pdpanel_process_cpu_ratio": ("gauge", "CPU of a process and its children; 1 is one core."),
    "pdpanel_process_rss_bytes": ("gauge", "Memory of a process and its children."),
    "pdpanel_process_kv_usage_ratio": ("gauge", "Share of the KV cache in use."),
    "pdpanel_process_queued_requests": ("gauge", "Requests that wait in a process."),
    "pdpanel_link_kv_bytes_per_second": ("gauge", "KV that travels over a link."),
    "pdpanel_run_kv_bytes_per_second": ("gauge", "KV that travels over all links of a run."),
    "pdpanel_run_prompt_tokens_per_second": ("gauge", "Prompt tokens of a run."),
    "pdpanel_run_generated_tokens_per_second": ("gauge", "Generated tokens of a run."),
    "pdpanel_run_running_requests": ("gauge", "Requests that run."),
    "pdpanel_run_requests_per_second": ("gauge", "Requests that ended."),
    "pdpanel_run_failed_per_second": ("gauge", "Requests that failed."),
    "pdpanel_run_ttft_seconds": ("gauge", "Time to the first token, by quantile."),
    "pdpanel_run_itl_seconds": ("gauge", "Time between tokens, by quantile."),
    "pdpanel_run_transfer_latency_seconds": ("gauge", "Time that a transfer takes, by quantile."),
    "pdpanel_run_sample_age_seconds": ("gauge", "Age of the newest sample of a run."),
    "pdpanel_host_link_bytes_per_second": ("gauge", "Traffic of the host's links, by direction."),
    "pdpanel_websockets": ("gauge", "Pages that listen to live data."),
    "process_cpu_seconds_total": ("counter", "CPU time of the panel."),
    "process_resident_memory_bytes": ("gauge", "Memory of the panel."),
    "process_open_fds": ("gauge", "Open files of the panel."),
    "process_start_time_seconds": ("gauge", "When the panel was started, in seconds since 1970."),
}

_OF_RUN = {
    "pdpanel_run_kv_bytes_per_second": "run/kv_bytes_per_s",
    "pdpanel_run_prompt_tokens_per_second": "run/prompt_tokens_per_s",
    "pdpanel_run_generated_tokens_per_second": "run/generated_tokens_per_s",
    "pdpanel_run_running_requests": "run/running",
    "pdpanel_run_requests_per_second": "run/requests_per_s",
    "pdpanel_run_failed_per_second": "run/failed_per_s",
}
_QUANTILES = {
    "pdpanel_run_ttft_seconds": "run/ttft",
    "pdpanel_run_itl_seconds": "run/itl",
    "pdpanel_run_transfer_latency_seconds": "run/transfer_latency",
}

Labels = Sequence[tuple[str, str]]
Sample = tuple[str, Labels, float]


@dataclass(frozen=True, slots=True)
class OwnFacts:
    """What the panel says of its own process; a figure that cannot be read is None."""

    version: str
    websockets: int
    cpu_seconds: float | None = None
    rss_bytes: float | None = None
    open_fds: float | None = None
    started_s: float | None = None


def _escaped(value: str) -> str:
    text = redact(value)[:_LONGEST_LABEL]
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _line(name: str, labels: Labels, value: float) -> str:
    inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels)
    shown = repr(float(value)) if not float(value).is_integer() else str(int(value))
    return f"{name}{{{inside}}} {shown}" if inside else f"{name} {shown}"


def _of_processes(run: RunView, latest: Mapping[str, float]) -> Iterator[Sample]:
    for process in run.processes:
        labels = (("run", run.id), ("process", process.name), ("role", process.role))
        yield "pdpanel_process_up", labels, float(process.state == "ready")
        yield "pdpanel_process_crashed", labels, float(process.state == "crashed")
        yield "pdpanel_process_restarts_total", labels, float(process.restarts)
        if process.cpu_percent is not None:
            yield "pdpanel_process_cpu_ratio", labels, process.cpu_percent / 100
        if process.rss_bytes is not None:
            yield "pdpanel_process_rss_bytes", labels, float(process.rss_bytes)
        if (used := latest.get(f"proc/{process.name}/kv_usage_percent")) is not None:
            yield "pdpanel_process_kv_usage_ratio", labels, used / 100
        if (queued := latest.get(f"proc/{process.name}/queued")) is not None:
            yield "pdpanel_process_queued_requests", labels, queued


def _of_run(run: RunView, latest: Mapping[str, float]) -> Iterator[Sample]:
    labels = (("run", run.id),)
    yield "pdpanel_run_up", labels, float(run.state == "ready")
    for name, key in _OF_RUN.items():
        if key in latest:
            yield name, labels, latest[key]
    for name, stem in _QUANTILES.items():
        for quantile, part in (("0.5", "p50"), ("0.99", "p99")):
            if f"{stem}_{part}_s" in latest:
                yield name, (*labels, ("quantile", quantile)), latest[f"{stem}_{part}_s"]
    for one, other in run.links[:_MOST_LINKS]:
        key = f"link/{one}>{other}/kv_bytes_per_s"
        if key in latest:
            ends = (("prefill", one), ("decode", other))
            yield "pdpanel_link_kv_bytes_per_second", (*labels, *ends), latest[key]


def _of_host(traffic: HostTraffic | None) -> Iterator[Sample]:
    for name, link in list(traffic.links.items())[:_MOST_LINKS] if traffic is not None else []:
        for direction, value in (("tx", link.tx_bytes_per_s), ("rx", link.rx_bytes_per_s)):
            if value is not None:
                yield "pdpanel_host_link_bytes_per_second", (("link", name), ("direction", direction)), value


def _of_panel(own: OwnFacts) -> Iterator[Sample]:
    yield "pdpanel_build_info", (("version", own.version),), 1.0
    yield "pdpanel_websockets", (), float(own.websockets)
    figures = {
        "process_cpu_seconds_total": own.cpu_seconds,
        "process_resident_memory_bytes": own.rss_bytes,
        "process_open_fds": own.open_fds,
        "process_start_time_seconds": own.started_s,
    }
    for name, value in figures.items():
        if value is not None:
            yield name, (), value


def metrics_text(
    own: OwnFacts,
    runs: Sequence[RunView],
    latest: Mapping[str, tuple[float, Mapping[str, float]]],
    traffic: HostTraffic | None,
    now: float,
) -> str:
    """Returns the page.

    Args:
        own: the panel's own figures.
        runs: all runs, newest first.
        latest: by run id the newest sample: its time, and its values by series key.
        traffic: the host's links.
        now: unix seconds.
    """
    samples: list[Sample] = list(_of_panel(own))
    states = Counter(run.state for run in runs)
    samples += [("pdpanel_runs", (("state", state),), float(count)) for state, count in sorted(states.items())]
    living = [run for run in runs if run.state != "stopped"]
    kinds = Counter((process.role, process.state) for run in living for process in run.processes)
    samples += [
        ("pdpanel_processes", (("role", role), ("state", state)), float(count))
        for (role, state), count in sorted(kinds.items())
    ]
    told = 0
    for run in living[:MOST_RUNS]:
        at, values = latest.get(run.id, (None, {}))
        samples += _of_run(run, values)
        if at is not None:
            samples.append(("pdpanel_run_sample_age_seconds", (("run", run.id),), max(0.0, now - at)))
        told += len(run.processes)
        if told <= MOST_PROCESSES:
            samples += _of_processes(run, values)
    samples += _of_host(traffic)
    return "\n".join(_grouped(samples)) + "\n"


def _grouped(samples: Iterable[Sample]) -> Iterator[str]:
    by_name: dict[str, list[Sample]] = {}
    for sample in samples:
        if math.isfinite(sample[2]):
            by_name.setdefault(sample[0], []).append(sample)
    for name, (kind, text) in FAMILIES.items():
        if name in by_name:
            yield f"# HELP {name} {text}"
            yield f"# TYPE {name} {kind}"
            yield from (_line(*sample) for sample in by_name[name])
