"""What the charts need to know of a series: its group, a short label, unit and limit.

Pure: the catalogue's `SeriesInfo` in, the port's `SeriesView` out. The label says whom the series is about; which of
several quantities of a group it is, the chart knows from the key. Called by `source` and by the benchmark's source.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

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
    return SeriesView(info.key, label, group, info.unit, info.source, whole, info.limit, info.process)


def to_series_list(infos: Iterable[SeriesInfo]) -> tuple[SeriesView, ...]:
    """Returns the series that charts show, in the order of `infos`."""
    return tuple(view for info in infos if (view := to_series(info)) is not None)


class SeriesCache:
    """The translated lists of the last runs: comparing hundreds of series costs less than translating them."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Mapping[str, SeriesInfo], tuple[SeriesView, ...]]] = {}

    def of(self, run_id: str, infos: Mapping[str, SeriesInfo]) -> tuple[SeriesView, ...]:
        """Returns the list of a run; `infos` may be empty for "as before"."""
        known = self._known.get(run_id)
        if known is None or (infos and known[0] != infos):
            known = (dict(infos), to_series_list(infos.values()))
            while len(self._known) >= _CACHED_RUNS:
                self._known.pop(next(iter(self._known)), None)
            self._known[run_id] = known
        return known[1]
