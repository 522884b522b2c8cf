"""What nobody needs any more: halves of removed runs, files of writers that died, models that no run uses.

Looks only at names that pdpanel itself gives, and only where it puts them: what another program keeps in the same
folder is never listed. Reads; `history.run_history` removes.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from ...engine.model.catalog import CATALOG, find_in_catalog
from ...engine.model.converted import FORMAT
from ..disk_use import bytes_of
from .prune_plan import PruneItem, PruneKind
from .removal import TRASH

__all__ = ["leftovers", "unused_models"]

_SCRATCH = re.compile(r"\.[\w.-]+\.(\d{1,9})")
_TEMPORARY = re.compile(r"[\w.-]+\.tmp-(\d{1,9})")
_CONVERTED = re.compile(r"([0-9a-f]{64})-(\d{1,4})")
_HALF_A_START = frozenset({"logs", "deployment.yaml", "plan.json", "runner.lock", "runner.log"})
_OLD_S = 3600.0


def leftovers(state_dir: Path, cache_dir: Path, now_s: float | None = None) -> list[PruneItem]:
    """Returns what writers that no longer live have left in the state and cache folders."""
    now_s = time.time() if now_s is None else now_s
    found = [_item(path, "was being removed") for path in _entries(state_dir / TRASH)]
    runs = _entries(state_dir / "runs")
    for path in runs:
        if path.is_symlink() or not path.is_dir():
            continue
        names = {entry.name for entry in _entries(path)}
        if "state.json" not in names and names <= _HALF_A_START and _is_old(path, now_s):
            found.append(_item(path, "a start that ended before it began"))
    for folder in (state_dir, *(run for run in runs if run.is_dir() and not run.is_symlink())):
        found += [_item(path, "its writer has ended") for path in _orphans(folder, _SCRATCH, now_s)]
    for folder in (cache_dir / "models", cache_dir / "converted", cache_dir / "converted" / "index"):
        found += [_item(path, "its writer has ended") for path in _orphans(folder, _TEMPORARY, now_s)]
    return found


def unused_models(cache_dir: Path, used: Collection[str]) -> list[PruneItem]:
    """Returns the downloads and conversions in the cache that none of the models `used` needs.

    Args:
        cache_dir: the cache.
        used: the models of the runs that stay, as their deployments name them.
    """
    entries = {entry.name for text in used if (entry := find_in_catalog(text)) is not None}
    known = {entry.name for entry in CATALOG}
    items = [
        PruneItem(PruneKind.MODEL, path.name, (str(path),), bytes_of(path), "no remaining run uses this download")
        for path in _entries(cache_dir / "models")
        if path.name in known - entries and path.is_dir() and not path.is_symlink()
    ]
    sources = _sources(cache_dir / "converted" / "index")
    for path in _entries(cache_dir / "converted"):
        found = _CONVERTED.fullmatch(path.name)
        if found is None or path.is_symlink() or not path.is_dir():
            continue
        names = sources.get(found[1], [])
        if int(found[2]) >= FORMAT and any(_is_used(name, used, entries, cache_dir) for name in names):
            continue
        why = "of an older version" if int(found[2]) < FORMAT else "no remaining run uses this conversion"
        name = f"{Path(names[0]).name if names else path.name[:12]}, converted"
        items.append(PruneItem(PruneKind.MODEL, name, (str(path),), bytes_of(path), why))
    return items


def _is_used(source: str, used: Collection[str], entries: Collection[str], cache_dir: Path) -> bool:
    """Returns True when a file or folder that was converted is one of the models `used`."""
    path = Path(source)
    if path.is_relative_to(cache_dir / "models"):
        return path.relative_to(cache_dir / "models").parts[0] in entries
    hub = {f"models--{text.replace('/', '--')}" for text in used}
    places = {os.path.abspath(os.path.expanduser(text)) for text in used}
    above = {str(path), *(str(parent) for parent in path.parents)}
    return bool(hub.intersection(path.parts) or places.intersection(above))


def _sources(index: Path) -> dict[str, list[str]]:
    """Returns the sources of conversions, by sha256."""
    sources: dict[str, list[str]] = {}
    for file in _entries(index):
        try:
            entry = json.loads(file.read_text(encoding="utf-8"))
            sources.setdefault(str(entry["sha256"]), []).append(str(entry["path"]))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return sources


def _orphans(folder: Path, pattern: re.Pattern[str], now_s: float) -> Iterator[Path]:
    for path in _entries(folder):
        found = pattern.fullmatch(path.name)
        if found is not None and not os.path.exists(f"/proc/{found[1]}") and _is_old(path, now_s):
            yield path


def _is_old(path: Path, now_s: float) -> bool:
    try:
        return now_s - path.lstat().st_mtime > _OLD_S
    except OSError:
        return False


def _item(path: Path, why: str) -> PruneItem:
    return PruneItem(PruneKind.LEFTOVER, path.name, (str(path),), bytes_of(path), why)


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []
