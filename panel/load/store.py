"""Saved results: one JSON file each below the state folder, `loads/ID.json`, written as a whole or not at all.

Knows how a result becomes an entry and how entries are kept; nothing of processes (`jobs`). An entry is a JSON object:
id, name, kind (load, imported or accuracy), state, created_at and ended_at in unix seconds, the spec, the measured
`columns` by the names of `results.bench_result`, `curves` in ms, `rows` of progress, errors, notes.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ...engine.errors import NotFoundError
from .export import plain_numbers
from .result import PROGRESS_COLUMNS, LoadResult, columns_of
from .result_text import arrival_words
from .spec import LoadSpec

__all__ = ["Entry", "LoadStore", "load_entry", "new_load_id", "thinned", "write_whole"]

Entry = dict[str, Any]

VERSION = 1
_ID = re.compile(r"[a-z]+-\d{8}-\d{6}-[0-9a-f]{4}")
_MOST_ROWS = 600
_MOST_BYTES = 8 << 20


def new_load_id(now: float, kind: str = "load") -> str:
    """Returns an id that does not repeat: the kind, the time in UTC and four random digits."""
    return f"{kind}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now))}-{secrets.token_hex(2)}"


def thinned(rows: Sequence[Sequence[float | None]], most: int = _MOST_ROWS) -> list[list[float | None]]:
    """Returns at most `most` of the rows, evenly chosen, the last one always."""
    step = -(-len(rows) // most) if rows else 1
    return [list(row) for row in rows[::-1][::step][::-1]]


def load_entry(
    load_id: str,
    spec: LoadSpec,
    result: LoadResult,
    rows: Sequence[Sequence[float | None]],
    *,
    name: str = "",
    labels: Mapping[str, str] | None = None,
) -> Entry:
    """Returns the entry of a load that is over.

    Args:
        load_id: of `new_load_id`.
        spec: what was asked.
        result: what was measured.
        rows: the samples of progress.
        name: as the person calls it; empty makes one.
        labels: what is known of the deployment: run, mode, transport.
    """
    labels = labels or {}
    about = ", ".join(part for part in (labels.get("mode", ""), labels.get("transport", "")) if part)
    return {
        "version": VERSION,
        "id": load_id,
        "name": name or f"{about or spec.url}: {arrival_words(spec)}, {spec.input}/{spec.output}",
        "kind": "load",
        "state": result.ended,
        "created_at": result.started_at,
        "ended_at": result.started_at + result.duration_s,
        **labels,
        "model": result.model,
        "arrival": arrival_words(spec),
        "spec": msgspec.to_builtins(spec),
        "prompts_from": result.prompts_from,
        "columns": plain_numbers(columns_of(result)),
        "curves": {key: [round(1000 * value, 4) for value in values] for key, values in result.curves.items()},
        "row_columns": list(PROGRESS_COLUMNS),
        "rows": thinned(rows),
        "errors": [{"kind": one.kind, "count": one.count, "text": one.text} for one in result.errors],
        "cut": result.cut,
        "notes": list(result.notes),
    }


def write_whole(path: Path, data: bytes) -> None:
    """Replaces a file as a whole and for good: a reader sees the old or the new one, also after a crash."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
    except OSError:
        scratch.unlink(missing_ok=True)
        raise


class LoadStore:
    """The results below one folder; it need not exist yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, load_id: str) -> Path:
        """Returns where an entry is; raises NotFoundError for what is no id."""
        if not _ID.fullmatch(load_id):
            raise NotFoundError("load", load_id, "there is no such result", "choose one of the list")
        return self.folder / f"{load_id}.json"

    def save(self, entry: Entry) -> None:
        """Writes an entry; raises OSError for a full disk or a folder that cannot be written."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(self.path(entry["id"]), json.dumps(entry, allow_nan=False).encode())

    def read(self, load_id: str) -> Entry | None:
        """Returns an entry, None when there is none; one that cannot be read says so instead of its numbers."""
        path = self.path(load_id)
        problem = ""
        try:
            if path.stat().st_size > _MOST_BYTES:
                problem = "The file of this result is too large to be one."
            else:
                entry = json.loads(path.read_bytes())
                if isinstance(entry, dict) and entry.get("id") == load_id and isinstance(entry.get("columns"), dict):
                    if int(entry.get("version", 0)) <= VERSION:
                        return entry
                    problem = "A newer version of pdpanel has written this result."
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, RecursionError):
            pass
        notes = [problem or "The file of this result cannot be read."]
        return {"id": load_id, "name": load_id, "kind": "load", "state": "unreadable", "columns": {}, "notes": notes}

    def ids(self) -> Iterator[str]:
        """Yields the ids of all entries."""
        try:
            names = os.listdir(self.folder)
        except OSError:
            return
        for name in names:
            if name.endswith(".json") and _ID.fullmatch(name.removesuffix(".json")):
                yield name.removesuffix(".json")

    def remove(self, load_id: str) -> None:
        """Removes an entry, if it is there."""
        self.path(load_id).unlink(missing_ok=True)
