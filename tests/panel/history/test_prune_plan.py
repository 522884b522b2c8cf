from __future__ import annotations

from dataclasses import replace

import pytest
from ended_runs import record_of
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.panel.history.prune_plan import PruneItem, PruneKind, PrunePlan, PruneWish, choose_runs
from pdpanel.panel.history.summary import Peaks, RunSummary, summarize

DAY_S = 86400.0
NOW = 1_800_000_000.0


def runs(*ages: float) -> list[RunSummary]:
    one = summarize(record_of("x"), Peaks())
    return [replace(one, id=f"run-{place}", ended_s=NOW - age * DAY_S) for place, age in enumerate(ages)]


def chosen(wish: PruneWish, *ages: float) -> list[str]:
    return [run.id for run, _ in choose_runs(runs(*ages), wish, NOW)]


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        (PruneWish(), ["run-3", "run-2"]),
        (PruneWish(days=5), ["run-3", "run-2", "run-1"]),
        (PruneWish(days=0), ["run-3", "run-2", "run-1", "run-0"]),
        (PruneWish(keep=1), ["run-3", "run-2", "run-1"]),
        (PruneWish(keep=3, days=5), ["run-3"]),
        (PruneWish(keep=9), []),
        (PruneWish(runs=("run-0",)), ["run-0"]),
        (PruneWish(runs=()), []),
    ],
)
def test_age_and_number_choose_the_runs_the_oldest_first(wish: PruneWish, expected: list[str]) -> None:
    assert chosen(wish, 1, 10, 40, 400) == expected


def test_a_run_whose_end_nobody_knows_counts_from_its_start() -> None:
    run = replace(runs(0)[0], ended_s=None, created_s=NOW - 40 * DAY_S)
    assert choose_runs([run], PruneWish(), NOW) == [(run, "ended 40 days ago")]


@given(st.lists(st.floats(-1, 1000)), st.integers(0, 20), st.floats(0, 1000))
def test_the_newest_stay_and_nothing_younger_than_wanted_goes(ages: list[float], keep: int, days: float) -> None:
    gone = choose_runs(runs(*ages), PruneWish(days=days, keep=keep), NOW)
    assert len(gone) <= max(0, len(ages) - keep)
    assert all(NOW - (run.ended_s or 0) > days * DAY_S for run, _ in gone)


def test_the_plan_says_what_it_frees() -> None:
    plan = PrunePlan(
        (
            PruneItem(PruneKind.RUN, "a", ("/x/a",), 1_500_000, "ended 40 days ago"),
            PruneItem(PruneKind.MODEL, "m", ("/x/m",), 500_000_000, "no run has used this download"),
        )
    )
    assert plan.text.splitlines() == [
        "run         1.5 MB  a  (ended 40 days ago)",
        "model       500 MB  m  (no run has used this download)",
        "frees 502 MB",
    ]
    assert PrunePlan(()).text == "there is nothing to free"
