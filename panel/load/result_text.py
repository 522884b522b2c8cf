"""A load's progress and result as text for a terminal. Pure; called by `cli_load`."""

from __future__ import annotations

from .result import LATENCIES, LoadResult, Progress
from .spec import Arrival, LoadSpec

__all__ = ["arrival_words", "progress_text", "result_text"]

_NAMES = {"ttft": "time to first token", "itl": "between tokens", "tpot": "per token", "e2e": "whole request"}


def arrival_words(spec: LoadSpec) -> str:
    """Returns how requests arrive, in a few words."""
    if spec.arrival is Arrival.BURST:
        return f"{spec.requests} requests at once"
    if spec.arrival is Arrival.CONCURRENCY:
        return f"concurrency {spec.concurrency}"
    most = f", at most {spec.concurrency} at once" if spec.concurrency else ""
    return f"{spec.rate:g} requests/s ({spec.arrival}){most}"


def progress_text(progress: Progress) -> str:
    """Returns one line of at most about a terminal's width."""
    failed = f", {progress.failed} failed" if progress.failed else ""
    return (
        f"{progress.at_s:6.1f} s  {progress.completed} done{failed}, {progress.running} running  "
        f"{progress.output_tokens_per_s:.0f} tok/s  "
        f"TTFT {_ms(progress.ttft_p50_s)}  ITL {_ms(progress.itl_p50_s)} p99 {_ms(progress.itl_p99_s)}"
    )


def result_text(spec: LoadSpec, result: LoadResult) -> str:
    """Returns the result as lines."""
    input_per_s, output_per_s = result.per_s(result.input_tokens), result.per_s(result.output_tokens)
    lines = [
        f"{spec.url}  {result.model}  {arrival_words(spec)}, input {spec.input}, output {spec.output}, "
        f"{result.prompts_from}",
        f"{result.ended}: {result.completed} completed, {result.failed} failed"
        + (f", {result.cut} cut off" if result.cut else "")
        + f" in {result.duration_s:.1f} s",
        f"concurrency    mean {result.concurrency_mean:.1f}, most {result.concurrency_max}",
        f"requests/s     {result.per_s(result.completed):.2f}",
        f"tokens/s       input {input_per_s:.1f}, output {output_per_s:.1f}",
    ]
    if result.good is not None and result.completed:
        share = 100 * result.good / result.completed
        lines.append(f"goodput        {result.per_s(result.good):.2f} requests/s within the limits ({share:.0f} %)")
    if result.completed:
        lines.append(f"{'':<21}{'mean':>10}{'p50':>10}{'p90':>10}{'p99':>10}")
    for name in LATENCIES:
        found = getattr(result, name)
        if found is not None:
            cells = "".join(f"{_ms(value):>10}" for value in (found.mean, found.p50, found.p90, found.p99))
            lines.append(f"{_NAMES[name]:<21}{cells}")
    lines += [f"error {error.kind} ({error.count}): {error.text}" for error in result.errors]
    lines += [f"note: {note}" for note in result.notes]
    return "\n".join(lines) + "\n"


def _ms(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds:.2f} s" if seconds >= 10 else f"{seconds * 1000:.1f} ms"
