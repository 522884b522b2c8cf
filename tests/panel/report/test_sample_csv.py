from __future__ import annotations

from pdpanel.panel.report.sample_csv import to_csv
from pdpanel.panel.runner.buckets import RangeRow
from pdpanel.panel.runner.sample_range import SampleRange
from pdpanel.panel.runner.series import SeriesInfo

SERIES = {"b": SeriesInfo("b", "B", "tokens/s", "x"), "a": SeriesInfo("a", "A", "", "x")}


def test_a_gap_is_an_empty_cell() -> None:
    rows = [RangeRow(0.25, {"a": 1.5, "b": 1e9}), RangeRow(1.0, {}), RangeRow(2.0, {"b": 0.0})]
    assert to_csv(SampleRange(0.5, SERIES, rows)).splitlines() == [
        "unix_s,utc,a,b (tokens/s)",
        "0.250,1970-01-01T00:00:00Z,1.5,1e+09",
        "1.000,1970-01-01T00:00:01Z,,",
        "2.000,1970-01-01T00:00:02Z,,0",
    ]


def test_means_have_their_peaks_beside_them() -> None:
    rows = [RangeRow(60.0, {"a": 1.0, "b": 2.0}, {"a": 3.0, "b": 4.0})]
    head, row = to_csv(SampleRange(60.0, SERIES, rows)).splitlines()
    assert head == "unix_s,utc,a,b (tokens/s),max a,max b (tokens/s)"
    assert row.endswith(",1,2,3,4")


def test_a_time_that_no_calendar_has_stays_a_number() -> None:
    assert to_csv(SampleRange(0.5, {}, [RangeRow(1e30, {})])).splitlines()[1].endswith(",")
