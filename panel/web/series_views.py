"""What the charts need to know of a series: its group, a short label, unit and limit.

Pure: the catalogue's `SeriesInfo` in, the port's `SeriesView` out. The label says whom the series is about; which of
several quantities of a group it is, the chart knows from the key. Called by `source` and by the benchmark's source.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..runner.series import SeriesInfo
from .port import SeriesView

__all__ = ["SeriesCache", "quantity_of", "to_series", "to_series_list"]

# The group of a series whose catalogue entry names none, by the last part of its key.
_GROUPS = {
    "kv_bytes_per_s": "kv",
    "running": "queues",
    "queued": "queues",
    "generated_tokens_per_s": "tokens",
    "prompt_tokens_per_s": "tokens",
    "slot_pages_used": "pages",
    "staging_pages_used": "pages",
    "cpu_percent": "cpu",
    "rss_bytes": "memory",
}
_CACHED_RUNS = 16
_WHOLE = frozenset({"run", "host"})
# Of a worker: the subject is its name and a number.
_PARTS = frozenset({"rank", "group"})


def quantity_of(key: str) -> str:
    """Returns what a series measures: the last part of its key, such as `kv_bytes_per_s`."""
    return key.rpartition("/")[2]


def to_series(info: SeriesInfo) -> SeriesView | None:
    """Returns what the charts need to know of a series, or None for one that no chart shows."""
    where, _, rest = info.key.partition("/")
    subject, _, quantity = rest.rpartition("/")
    group = info.group or _GROUPS.get(quantity, "")
    # What prefill generates is the first token of each answer, which decode counts again.
    if not group or (quantity == "generated_tokens_per_s" and subject.startswith("prefill-")):
        return None
    whole = info.total or where in _WHOLE
    if whole:
        label = "host" if where == "host" else "total"
    else:
        label = f"GPU {subject}" if where == "gpu" else subject.replace(">", " → ")
        if where in _PARTS:
            label = label.replace("/", f" {where} ")
    return SeriesView(info.key, label, group, info.unit, info.source, whole, info.limit, info.process)


def to_series_list(infos: Iterable[SeriesInfo]) -> tuple[SeriesView, ...]:
    """Returns the series that charts show, in the order of `infos`."""
    return tuple(view for info in infos if (view := to_series(info)) is not None)


@dataclass(frozen=True, slots=True)
class _Translated:
    infos: Mapping[str, SeriesInfo]
    views: tuple[SeriesView, ...]
    keys: frozenset[str]
    version: str


class SeriesCache:
    """The translated lists of the last runs: comparing hundreds of series costs less than translating them."""

    def __init__(self) -> None:
        self._known: dict[str, _Translated] = {}

    def version(self, run_id: str) -> str:
        """Returns the version of the series that are known of a run; empty for none."""
        known = self._known.get(run_id)
        return "" if known is None else known.version

    def of(self, run_id: str, infos: Mapping[str, SeriesInfo], version: str = "") -> tuple[SeriesView, ...]:
        """Returns the list of a run; `infos` may be empty for "as before"."""
        return self._of(run_id, infos, version).views

    def keys(self, run_id: str) -> frozenset[str]:
        """Returns the keys of that list."""
        return self._of(run_id, {}, "").keys

    def _of(self, run_id: str, infos: Mapping[str, SeriesInfo], version: str) -> _Translated:
        known = self._known.get(run_id)
        if known is None or (infos and (known.infos != infos or known.version != version)):
            views = to_series_list(infos.values()) if known is None or known.infos != infos else known.views
            known = _Translated(dict(infos), views, frozenset(view.key for view in views), version)
            while len(self._known) >= _CACHED_RUNS:
                self._known.pop(next(iter(self._known)), None)
            self._known[run_id] = known
        return known
