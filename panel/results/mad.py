"""The sweeps of ROCm's MAD scripts (`*_CONCURRENCY.log`): which point of which iteration a result belongs to.

Pure. The seed era marks a point with `[RUNNING] prompts ...`, today's script with `RUNNING: prompts ...` and an INFO
line before it; the results between are SGLang's or vLLM's. The name of the file tells model and xPyD.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from .bench_result import BenchResult, Dialect
from .run import Marker

__all__ = ["PointNote", "begins_sweep", "placed", "read_file_name", "read_iteration", "read_marker", "read_note"]

_POINT = re.compile(r"(\[RUNNING\]|\bRUNNING:)[ \t]{0,8}(.{1,2000})")
_NUMBERS = {
    name: re.compile(rf"\b{name}(?:=|[ \t]{{1,8}})(\d{{1,9}})(?!\S)", re.ASCII)
    for name in ("isl", "osl", "con", "prompts")
}
_MODEL = re.compile(r"\bmodel(?:=|[ \t]{1,8})(\S{1,500})")
_SPLIT = re.compile(r"\bxP=(\d{1,4}) yD=(\d{1,4})(?!\S)", re.ASCII)
_ITERATION = re.compile(r"running:? the benchserving script for iter:? ?(\d{1,6})", re.IGNORECASE | re.ASCII)
_NOTE = re.compile(r"INFO: model=\S")
# The scripts measure once to warm up, before the first iteration and without a marker.
_SWEEP = ("==== Benchmark Serving Concurrency Sweep Test", "Test run:", "Warmup run: ")
_FILE_NAME = re.compile(r"_xP(\d{1,4})_yD(\d{1,4})_(.{1,200}?)_CONCURRENCY\b", re.ASCII)


@dataclass(frozen=True, slots=True)
class PointNote:
    """What a line, or a file's name, says of a point beside its lengths and its concurrency."""

    model: str | None = None
    prefill_workers: int | None = None
    decode_workers: int | None = None
    prompts: int | None = None


def begins_sweep(text: str) -> bool:
    """Returns True for a line with which a script begins its log."""
    return text.startswith(_SWEEP)


def read_iteration(text: str) -> int | None:
    """Returns the number of the iteration that begins here; None for another line."""
    if "benchserving" not in text or not (match := _ITERATION.search(text)):
        return None
    return int(match.group(1))


def read_note(text: str) -> PointNote | None:
    """Returns what today's script says of a point on the line before its marker; None for another line."""
    return _note(text) if _NOTE.match(text) else None


def read_marker(line: int, text: str, note: PointNote | None) -> Marker | None:
    """Returns the point that is measured next; None for another line.

    Args:
        note: what the line before it said.
    """
    if "RUNNING" not in text or not (match := _POINT.search(text)):
        return None
    kind, rest = match.groups()
    numbers = {name: int(found.group(1)) for name, form in _NUMBERS.items() if (found := form.search(rest))}
    if not {"isl", "osl", "con"} <= numbers.keys():
        return None
    here, before = _note(rest), note or PointNote()
    return Marker(
        line,
        kind == "[RUNNING]",
        numbers["con"],
        numbers["isl"],
        numbers["osl"],
        here.prompts if here.prompts is not None else before.prompts,
        here.model or before.model,
        here.prefill_workers or before.prefill_workers,
        here.decode_workers or before.decode_workers,
    )


def read_file_name(name: str) -> PointNote:
    """Returns what the name of a log says; nothing for another name."""
    match = _FILE_NAME.search(name)
    return PointNote() if match is None else PointNote(match.group(3), int(match.group(1)), int(match.group(2)))


def _note(text: str) -> PointNote:
    model, split, prompts = _MODEL.search(text), _SPLIT.search(text), _NUMBERS["prompts"].search(text)
    return PointNote(
        model.group(1) if model else None,
        int(split.group(1)) if split else None,
        int(split.group(2)) if split else None,
        int(prompts.group(1)) if prompts else None,
    )


def placed(result: BenchResult, marker: Marker | None, iteration: int | None, named: PointNote) -> BenchResult:
    """Returns the result with its place in the sweep.

    Args:
        named: what the name of the file says.
    """
    if marker is None:
        return replace(
            result,
            model=named.model or result.model,
            prefill_workers=named.prefill_workers,
            decode_workers=named.decode_workers,
        )
    return replace(
        result,
        dialect=Dialect.MAD_SEED if marker.seed else Dialect.MAD,
        model=marker.model or named.model or result.model,
        prefill_workers=marker.prefill_workers or named.prefill_workers,
        decode_workers=marker.decode_workers or named.decode_workers,
        iteration=iteration,
    )
