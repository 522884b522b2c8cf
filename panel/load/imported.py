"""Results of other benchmarks (SGLang's, vLLM's, MAD's) as entries that stand beside our own.

Pure. `panel.results` reads the files; here a row becomes an entry, with what is known and nothing guessed. Called by
the routes of the Benchmark tab.
"""

from __future__ import annotations

from dataclasses import asdict

from ...engine.errors import ConfigError
from ..results.bench_result import COUNTS, BenchResult
from ..results.parse import parse_results
from .export import plain_numbers
from .store import VERSION, Entry, new_load_id

__all__ = ["MOST_IMPORTED", "imported_entries"]

MOST_IMPORTED = 200
_WHO = {
    "mad-seed": "MAD",
    "mad": "MAD",
    "sglang-bench-serving": "SGLang bench_serving",
    "sglang-bench-one-batch-server": "SGLang bench_one_batch_server",
    "vllm-bench-serve": "vLLM bench serve",
    "pdpanel-load": "pdpanel load",
}


def imported_entries(data: bytes, name: str, now: float) -> list[Entry]:
    """Returns an entry for each result in a file, warm-ups left out, the first two hundred.

    Args:
        data: the file.
        name: its own name, for people.
        now: unix seconds.

    Raises:
        ConfigError: the file holds no result that `panel.results` knows.
    """
    found = [result for result in parse_results(data, name).results if not result.is_warm_up]
    if not found:
        remedy = "give the log or result file of SGLang's bench_serving, vllm bench serve or MAD"
        raise ConfigError("file", name, "holds no result of a benchmark", remedy)
    return [_entry(result, name, now) for result in found[:MOST_IMPORTED]]


def _entry(result: BenchResult, name: str, now: float) -> Entry:
    known = asdict(result)
    columns = {
        column: known[column] for column in known if column in COUNTS or column.endswith(("_s", "_ms", "_per_s"))
    }
    mode = ""
    if result.prefill_workers is not None and result.decode_workers is not None:
        mode = f"{result.prefill_workers}P{result.decode_workers}D"
    words = []
    if result.concurrency is not None:
        words.append(f"concurrency {result.concurrency}")
    elif result.request_rate is not None:
        words.append(f"{result.request_rate:g} requests/s")
    if result.iteration is not None:
        words.append(f"iteration {result.iteration}")
    lengths = f", {result.input_length}/{result.output_length}" if result.input_length and result.output_length else ""
    who = _WHO.get(result.dialect.value, result.dialect.value)
    return {
        "version": VERSION,
        "id": new_load_id(now, "imported"),
        "name": f"{who}: {', '.join(part for part in (mode, *words) if part) or name}{lengths}",
        "kind": "imported",
        "state": "finished" if result.complete else "incomplete",
        "created_at": now,
        "ended_at": None,
        "mode": mode,
        "model": result.model or "",
        "arrival": ", ".join(words),
        "source": f"{name}, line {result.line}",
        "spec": {"input": _length(result.input_length), "output": _length(result.output_length)},
        "columns": plain_numbers(columns),
        "curves": {},
        "rows": [],
        "errors": [],
        "notes": [] if result.complete else ["The file ends before this result does."],
    }


def _length(tokens: int | None) -> str:
    return "" if tokens is None else str(tokens)
