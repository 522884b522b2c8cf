"""The gap that the KV causes is what tokens 1 and 2 have between them beyond a usual gap."""

from __future__ import annotations

from array import array

import pytest
from pdpanel.panel.bench.suites.pd_gap import gap_figures, kv_gap
from pdpanel.panel.load.reading import AnswerReader


def answer(first_s: float, gaps: list[float]) -> AnswerReader:
    reader = AnswerReader(10.0, 100)
    reader.first_s, reader.gaps = 10.0 + first_s, array("d", gaps)
    return reader


def test_a_slow_token_in_the_middle_is_not_the_kvs() -> None:
    assert kv_gap([0.07, 0.02, 0.02, 0.9, 0.02]) == pytest.approx(0.05)
    assert kv_gap([0.02, 0.02, 0.02]) == pytest.approx(0)


def test_the_share_is_of_the_time_to_the_first_token() -> None:
    figures = {
        one.metric: one for one in gap_figures(2048, [answer(2.0, [0.06, 0.02, 0.02]), answer(4.0, [0.1, 0.02])])
    }
    assert figures["kv_gap"].values == pytest.approx([40, 80])
    assert figures["prefill_time"].values == pytest.approx([2000, 4000])
    share = figures["kv_gap_share"]
    assert share.values == pytest.approx([0.02, 0.02]) and share.goal is not None and share.peer == ""
    assert share.case == "prompt=2048,load=alone" and "median" in share.note
