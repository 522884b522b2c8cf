from __future__ import annotations

from ended_runs import CREATED_S, record_of
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.panel.history.summary import Peaks, peaks_of, summarize
from pdpanel.panel.launch import Role
from pdpanel.panel.runner.lifecycle import ProcessState
from pdpanel.panel.runner.state import ProcessRecord


def test_peaks_are_the_largest_values_and_memory_is_of_all_processes_at_a_time() -> None:
    rows = [
        {"run/kv_bytes_per_s": 5.0, "proc/a/rss_bytes": 10.0, "proc/b/rss_bytes": 1.0},
        {"run/running": 2.0, "proc/a/rss_bytes": 1.0, "proc/b/rss_bytes": 12.0},
        {},
    ]
    assert peaks_of(rows) == Peaks(kv_bytes_per_s=5.0, running=2.0, rss_bytes=13.0)
    assert peaks_of([]) == Peaks()


@given(st.lists(st.floats(0, 1e12), min_size=1))
def test_no_row_is_above_the_peak(values: list[float]) -> None:
    assert peaks_of([{"run/running": value} for value in values]).running == max(values)


def test_a_run_is_summed_up() -> None:
    summary = summarize(record_of("a"), Peaks(running=3.0), 2)
    assert (summary.state, summary.mode, summary.crashes) == ("stopped", "pd", 2)
    assert summary.processes == {"prefill": 1, "decode": 1, "router": 1}
    assert (summary.ended_s, summary.duration_s) == (CREATED_S + 120, 120.0)


def test_what_nobody_knows_is_none_and_a_clock_set_back_makes_no_negative_time() -> None:
    assert summarize(record_of("a", ended_at=None), Peaks()).duration_s is None
    assert summarize(record_of("a", ended_at=None), Peaks(), ended_s=CREATED_S + 7).duration_s == 7.0
    assert summarize(record_of("a", ended_at=CREATED_S - 50), Peaks()).duration_s == 0.0
    assert summarize(record_of("a", resumed_at=CREATED_S + 100), Peaks()).duration_s == 20.0


def test_crashes_that_only_the_record_knows_count() -> None:
    process = ProcessRecord("u", Role.UNIFIED, {}, "u.log", 1.0, ProcessState.CRASHED)
    summary = summarize(record_of("a", processes=(process,)), Peaks())
    assert (summary.crashes, summary.mode) == (1, "unified")
