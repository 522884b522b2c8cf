"""The recent samples of one run as the panel holds them while somebody looks.

Pure: rows in, packets out. The hub keeps one trace per run that a browser has selected and feeds it what the
runner has sampled since.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import asdict

from .port import SampleBatch, SeriesView

__all__ = ["Trace"]

_LONGEST = 7200


class Trace:
    """A ring of the newest samples of one run.

    Attributes:
        last_seq: number of the newest sample taken.
    """

    def __init__(self, run_id: str) -> None:
        self.last_seq = 0
        self._run_id = run_id
        self._series: tuple[SeriesView, ...] = ()
        self._rows: deque[tuple[float, Mapping[str, float]]] = deque(maxlen=_LONGEST)

    def extend(self, batch: SampleBatch) -> None:
        """Takes in what was sampled since `last_seq`."""
        self.last_seq = max(self.last_seq, batch.last_seq)
        self._series = batch.series or self._series
        self._rows.extend(batch.rows)

    def history(self) -> dict[str, object]:
        """Returns the packet with everything that is held."""
        return self._packet("history", list(self._rows))

    def delta(self, batch: SampleBatch) -> dict[str, object]:
        """Returns the packet with the rows of `batch` alone."""
        return self._packet("samples", list(batch.rows))

    def _packet(self, kind: str, rows: list[tuple[float, Mapping[str, float]]]) -> dict[str, object]:
        return {
            "type": kind,
            "run": self._run_id,
            "series": [asdict(series) for series in self._series],
            "rows": [[moment, dict(values)] for moment, values in rows],
        }
