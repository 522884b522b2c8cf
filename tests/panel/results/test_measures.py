from __future__ import annotations

import math

from pdpanel.panel.results.bench_result import COLUMNS
from pdpanel.panel.results.measures import MEASURED, latency_labels, measures_of_json, measures_of_text

LABELS = {
    "successful requests": "requests_successful",
    "benchmark duration (s)": "duration_s",
    "traffic request rate": "request_rate",
} | latency_labels("{statistic} {name} (ms)", {"ttft": "ttft"})


def test_labels_fill_their_columns() -> None:
    texts = [("successful requests", "16"), ("benchmark duration (s)", "1,018.82"), ("mean ttft (ms)", "5.00")]
    assert measures_of_text(texts, LABELS) == (
        {"requests_successful": 16, "duration_s": 1018.82, "ttft_mean_ms": 5.0},
        (),
    )


def test_median_and_p50_are_one_column_and_the_first_counts() -> None:
    assert measures_of_text([("median ttft (ms)", "7"), ("p50 ttft (ms)", "8")], LABELS)[0] == {"ttft_p50_ms": 7.0}
    assert measures_of_text([("p50 ttft (ms)", "8")], LABELS)[0] == {"ttft_p50_ms": 8.0}


def test_a_label_with_another_unit_or_another_statistic_is_passed_over() -> None:
    texts = [("mean ttft (s)", "5"), ("p95 ttft (ms)", "6"), ("std ttft (ms)", "7"), ("mean ttft", "8")]
    assert measures_of_text(texts, LABELS) == ({}, ())


def test_refused_numbers_are_named_and_a_later_label_may_fill_the_column() -> None:
    texts = [("median ttft (ms)", "1.234,56"), ("p50 ttft (ms)", "8.00"), ("successful requests", "7.5")]
    assert measures_of_text(texts, LABELS) == (
        {"ttft_p50_ms": 8.0},
        ("median ttft (ms)", "successful requests"),
    )


def test_only_a_rate_of_requests_is_infinite() -> None:
    texts = [("traffic request rate", "inf"), ("benchmark duration (s)", "inf"), ("mean ttft (ms)", "nan")]
    assert measures_of_text(texts, LABELS) == ({"request_rate": math.inf}, ())
    keys = {"rate": "request_rate", "seconds": "duration_s"}
    assert measures_of_json({"rate": math.inf, "seconds": math.inf}, keys) == {"request_rate": math.inf}


def test_json_counts_are_whole() -> None:
    keys = {"completed": "requests_successful", "done": "requests_successful"}
    assert measures_of_json({"completed": 16.0}, keys) == {"requests_successful": 16}
    assert measures_of_json({"completed": 16.5, "done": 3}, keys) == {"requests_successful": 3}
    assert measures_of_json({"completed": "many"}, keys) == {}


def test_measured_columns_are_not_those_that_were_asked_for() -> None:
    assert set(MEASURED) <= set(COLUMNS)
    assert not {"request_rate", "concurrency", "input_length", "requests_total"} & set(MEASURED)
    assert {"ttft_p99_ms", "duration_s", "output_tokens_per_s", "requests_successful"} <= set(MEASURED)
