"""What a series of samples is: the value that the runner stores beside the samples, and that charts read.

Knows neither how a value is measured nor who draws it.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SeriesInfo"]


@dataclass(frozen=True, slots=True)
class SeriesInfo:
    """What a series is.

    Attributes:
        source: where it comes from, in a few words.
        process: the process that it is about, if one.
        group: the chart that it belongs to; empty for none.
        total: True for the sum of the group's other series.
        limit: the most that it can be, in `unit`, such as a NIC's line rate; None where there is none.
    """

    key: str
    title: str
    unit: str
    source: str
    process: str = ""
    group: str = ""
    total: bool = False
    limit: float | None = None
