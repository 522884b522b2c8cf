"""Results that pdpanel itself saved: of `pdpanel load`, of the Benchmark tab, and the JSON that it exports.

Pure. What a saved result holds is said in `load.store` and `load.result`; their columns have the names of ours. Called
by `json_results`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from .bench_result import COLUMNS, BenchResult, Dialect
from .measures import measures_of_json

__all__ = ["is_own_record", "records_of_export", "result_of_record"]

_KINDS = frozenset({"load", "imported"})
_SPLIT = re.compile(r"(\d{1,4})P(\d{1,4})D", re.ASCII)
_LENGTH = re.compile(r"\d{1,9}", re.ASCII)
_MEASURED = {column: column for column in COLUMNS if column.startswith("requests_") or column.endswith(("_s", "_ms"))}
_MEASURED |= {"input_tokens": "input_tokens", "output_tokens": "output_tokens"}


def records_of_export(value: Any) -> list[Any] | None:
    """Returns the results in a value that the Benchmark tab exported; None for another one."""
    if isinstance(value, dict) and value.keys() == {"results"} and isinstance(value["results"], list):
        return value["results"]
    return None


def is_own_record(record: Mapping[str, Any]) -> bool:
    """Returns True for a load that pdpanel measured or took over; its evaluations are no loads."""
    return record.get("kind") in _KINDS and isinstance(record.get("columns"), dict) and "version" in record


def result_of_record(record: Mapping[str, Any], line: int, source: str) -> BenchResult:
    """Returns the result of one saved record."""
    spec = record.get("spec")
    spec = spec if isinstance(spec, dict) else {}
    measures = measures_of_json(record["columns"], _MEASURED)
    asked = measures_of_json(spec, {"concurrency": "concurrency", "rate": "request_rate"})
    if spec.get("arrival") == "burst":
        asked["request_rate"] = math.inf
    split = _SPLIT.fullmatch(str(record.get("mode", "")))
    model = record.get("model")
    return BenchResult(
        source=source,
        line=line,
        dialect=Dialect.PDPANEL_LOAD,
        model=model if isinstance(model, str) and model else None,
        prefill_workers=int(split[1]) if split else None,
        decode_workers=int(split[2]) if split else None,
        input_length=_length(spec.get("input")),
        output_length=_length(spec.get("output")),
        complete=record.get("state") == "finished",
        **asked,
        **measures,
    )


def _length(text: object) -> int | None:
    """Returns the tokens where all requests have the same; a range such as 64-256 is none."""
    return int(text) if isinstance(text, str) and _LENGTH.fullmatch(text) else None
