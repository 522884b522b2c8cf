"""What a starting process is doing, in the panel's words, from what engines say.

Pure: a health answer or a line of a log in, a stage out. Engines that listen only when they are done tell their
stages in their logs alone; `runner.stage_log` reads those. The words, in the order in which a worker passes them:
starting, importing, loading weights, warming up, registered. Ready is a state, not a stage.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import msgspec

from .journal import clean_line

__all__ = ["STARTING", "Stage", "is_known", "stage_of_health", "stage_of_line"]

STARTING = "starting"
IMPORTING = "importing"
LOADING = "loading weights"
WARMING = "warming up"
REGISTERED = "registered"

_WORDS = ("stage", "message", "detail", "reason", "status", "error")
_KNOWN = frozenset({STARTING, IMPORTING, LOADING, WARMING, REGISTERED})
# The bundled engine names the phase that has ended (engine/log.py, Stopwatch); this is what follows it.
_AFTER_PHASE = {
    "import torch": IMPORTING,
    "import engine": LOADING,
    "resolve model": LOADING,
    "tokenizer": LOADING,
    "weights": WARMING,
    "transport": WARMING,
    "warm-up": WARMING,
    "http": REGISTERED,
}
# Texts of SGLang (model_runner.py, weight_utils.py, http_server.py) and vLLM (default_loader.py, gpu_model_runner.py,
# uvicorn), from launch logs of both; the first that is found in a line counts.
_TEXTS = tuple(
    (re.compile(pattern, re.IGNORECASE), stage)
    for pattern, stage in (
        (r"loading (?:\w+ )*shards:\s+(?P<percent>\d{1,3})%", LOADING),
        (r"load(?:ing)? weight begin|starting to load model|loading weights from|loading model weights took", LOADING),
        (r"loading (?:safetensors|pt|gguf|model)\b", LOADING),
        (r"capturing (?:cuda|hip|batches)|capture cuda graph|graph capturing|cuda graph shapes", WARMING),
        (r"load weight end|model loading took|kv cache is allocated|memory pool end", WARMING),
        (
            r"gpu kv cache size|profil(?:e|ing).*memory|torch\.compile takes|start of .*warmup|warm(?:ing)?[ -]?up",
            WARMING,
        ),
        (r"application startup complete|server is fired up|uvicorn running on", REGISTERED),
        (r"server_args=serverargs|init torch distributed begin|initializing a v\d llm engine", IMPORTING),
    )
)


@dataclass(frozen=True, slots=True)
class Stage:
    """What a starting process does: `text` for people, `progress` of it from 0 to 1 where it is known."""

    text: str
    progress: float | None = None


class _Record(msgspec.Struct):
    event: str = ""
    phase: str = ""
    stage: str = ""
    done: float = 0
    total: float | None = None


_RECORDS = msgspec.json.Decoder(_Record)


def stage_of_line(line: str) -> Stage | None:
    """Returns what a line of a log says, None for one that says nothing about a start."""
    if line.startswith("{"):
        return _stage_of_record(line)
    for pattern, text in _TEXTS:
        if (match := pattern.search(line)) is not None:
            percent = match.groupdict().get("percent")
            return Stage(text, None if percent is None else min(1.0, int(percent) / 100))
    return None


def stage_of_health(status: int, body: bytes) -> Stage:
    """Returns what a readiness answer with `status` says, which is not 200."""
    fallback = Stage(f"answers with status {status}")
    try:
        said = msgspec.json.decode(body)
    except msgspec.MsgspecError:
        return Stage(clean_line(body[:120].decode("utf-8", errors="replace"))) if body.strip() else fallback
    if isinstance(said, dict) and isinstance(said.get("error"), dict):
        said = said["error"]
    if not isinstance(said, dict):
        return fallback
    text = next((clean_line(said[word][:120]) for word in _WORDS if isinstance(said.get(word), str) and said[word]), "")
    progress = said.get("progress")
    share = None
    if isinstance(progress, int | float) and not isinstance(progress, bool) and 0 <= progress <= 1:
        share = float(progress)
    return Stage(text, share) if text else fallback


def is_known(stage: Stage) -> bool:
    """Returns True for a stage in the panel's own words."""
    return stage.text in _KNOWN


def _stage_of_record(line: str) -> Stage | None:
    try:
        record = _RECORDS.decode(line)
    except (msgspec.MsgspecError, RecursionError):
        return None
    match record.event:
        case "started":
            text = _AFTER_PHASE.get(record.phase)
            return None if text is None else Stage(text)
        case "progress" | "loading":
            share = record.done / record.total if record.total else None
            return Stage(LOADING, None if share is None else min(1.0, max(0.0, share)))
        case "stage":
            return Stage(record.stage) if record.stage in _KNOWN else None
        case "ready":
            return Stage(REGISTERED)
        case _:
            return None
