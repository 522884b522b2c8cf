from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pdpanel.panel.web.cut import POINTS, Cut, thinned
from pdpanel.panel.web.port import SampleBatch, SeriesView
from pdpanel.panel.web.trace import Trace

SERIES = tuple(
    SeriesView(key, key, group, "B/s") for key, group in (("a", "kv"), ("b", "cpu"), ("c", "kv"), ("d", "cpu"))
)
Row = tuple[float, Mapping[str, float]]


def batch(last: int, rows: Sequence[Row], series: tuple[SeriesView, ...] = SERIES) -> SampleBatch:
    return SampleBatch(last, series, tuple(rows))


class Page:
    """Does with packets what the page does."""

    def __init__(self) -> None:
        self.version = ""
        self.rows: list[tuple[float, list[float | None]]] = []
        self.base: list[float | None] = []
        self.keys: list[str] = []

    def take(self, text: str | None) -> None:
        if not text:
            return
        packet = json.loads(text)
        if packet["type"] == "history":
            self.version = packet["version"]
            self.keys = [series["key"] for series in packet["series"]]
            at, self.rows = packet["t0"], []
            for place, apart in enumerate(packet["apart"]):
                at += apart
                values = [one[place] if isinstance(one, list) else one for one in packet["columns"]]
                self.rows.append((at / 1000, values))
            self.base = packet["base"]
        elif packet["version"] == self.version:
            for moment, *segments in packet["rows"]:
                for first, *values in segments:
                    self.base[first : first + len(values)] = values
                self.rows.append((moment, [*self.base]))


def test_history_and_news_are_the_samples_of_the_groups() -> None:
    trace, page = Trace("run"), Page()
    trace.extend(batch(2, [(10.0, {"a": 1, "b": 2, "c": 3}), (10.5, {"a": 1, "c": 4})]))
    cut = Cut(trace, {"kv"})
    assert cut.news() is None
    page.take(cut.whole(60))
    assert page.keys == ["a", "c"]
    assert page.rows == [(10.0, [1, 3]), (10.5, [1, 4])]
    trace.extend(batch(4, [(11.0, {"a": 1}), (11.5, {"a": 5, "c": 6})]))
    page.take(cut.news())
    # A value that is missing is a gap, never 0 and never the one before.
    assert page.rows[2:] == [(11.0, [1, None]), (11.5, [5, 6])]
    assert cut.news() == ""


def test_late_follower_goes_on_from_its_own_history() -> None:
    trace, first, late = Trace("run"), Page(), Page()
    trace.extend(batch(1, [(10.0, {"a": 1, "c": 2})]))
    cut = Cut(trace, None)
    cut.news()
    first.take(cut.whole(60))
    trace.extend(batch(2, [(10.5, {"a": 7})]))
    first.take(cut.news())
    late.take(cut.whole(60))
    trace.extend(batch(3, [(11.0, {"a": 7, "c": 2})]))
    news = cut.news()
    first.take(news)
    late.take(news)
    assert first.rows == late.rows
    assert len(first.rows) == 3


values = st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), st.integers(0, 3).map(float))


@settings(max_examples=60)
@given(st.lists(st.lists(values, max_size=4), min_size=1, max_size=8), st.sampled_from([None, {"kv"}, {"cpu"}]))
def test_page_holds_what_was_sampled(batches: list[list[dict[str, float]]], groups: set[str] | None) -> None:
    trace, page, cut, seq = Trace("run"), Page(), None, 0
    expected: list[tuple[float, list[float | None]]] = []
    keys = [one.key for one in SERIES if groups is None or one.group in groups]
    for rows in batches:
        timed = [(100.0 + (seq := seq + 1), row) for row in rows]
        expected += [(moment, [row.get(key) for key in keys]) for moment, row in timed]
        trace.extend(batch(seq, timed))
        cut = cut or Cut(trace, groups)
        news = cut.news()
        page.take(cut.whole(3600) if news is None else news)
    assert page.rows == expected


def test_new_series_and_a_clock_put_back_begin_anew() -> None:
    trace, page = Trace("run"), Page()
    trace.extend(batch(2, [(10.0, {"a": 1}), (20.0, {"a": 2})]))
    cut = Cut(trace, None)
    cut.news()
    trace.extend(batch(3, [(21.0, {"a": 1, "e": 2})], (*SERIES, SeriesView("e", "e", "kv", "B"))))
    assert cut.news() is None
    page.take(cut.whole(60))
    assert page.keys[-1] == "e"
    assert page.rows[-1] == (21.0, [1, None, None, None, 2])
    trace.extend(batch(4, [(15.0, {"a": 9})], ()))
    assert cut.news() is None
    page.take(cut.whole(60))
    assert [moment for moment, _ in page.rows] == [10.0, 15.0]


def test_rows_of_another_selection_are_told_apart() -> None:
    trace = Trace("run")
    trace.extend(batch(1, [(10.0, {"a": 1})]))
    marks: set[Any] = set()
    for groups in (None, {"kv"}, {"cpu"}):
        cut = Cut(trace, groups)
        cut.news()
        marks.add(json.loads(cut.whole(60))["version"])
    assert len(marks) == 3


def test_long_window_is_thinned_and_an_hour_is_kept() -> None:
    trace = Trace("run")
    rows = [(1000.0 + place / 2, {"a": float(place)}) for place in range(10_000)]
    trace.extend(batch(10_000, rows))
    cut = Cut(trace, None)
    cut.news()
    packet = json.loads(cut.whole(3600))
    assert POINTS <= len(packet["apart"]) <= POINTS + 2
    assert packet["step_s"] == pytest.approx(6, abs=0.1)
    assert packet["columns"][1] is None
    assert packet["columns"][0][-1] == pytest.approx(9994, abs=6)
    short = json.loads(cut.whole(60))
    assert (len(short["apart"]), short["step_s"]) == (121, 0)
    times, _ = trace.rows(0)
    assert 7200 <= len(times) <= 8100


def test_a_mean_is_over_what_is_there() -> None:
    times = np.array([0.0, 1.0, 2.0, 10.0, 11.0])
    held = np.array([[1, np.nan], [3, np.nan], [np.nan, np.nan], [5, np.nan], [7, 4]], dtype=np.float32)
    moments, means = thinned(times, held, 5.0)
    assert moments.tolist() == [2.0, 11.0]
    assert means[:, 0].tolist() == [2.0, 6.0]
    assert np.isnan(means[0, 1])
    assert means[1, 1] == 4.0


def test_run_without_samples_has_an_empty_history() -> None:
    trace, page = Trace('a"b'), Page()
    cut = Cut(trace, {"kv"})
    cut.news()
    text = cut.whole(60) if trace.version >= 0 else ""
    page.take(text)
    assert json.loads(text)["run"] == 'a"b'
    assert page.rows == []
