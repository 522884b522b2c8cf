from __future__ import annotations

import json
import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pdpanel.panel.results.json_results import read_json_results

from .excerpts import TRANSFER_ERROR
from .test_sglang_one_batch import RECORD as BATCH
from .test_sglang_serving import RECORD as SGLANG
from .test_vllm_serve import RECORD as VLLM


def lines(*records: Any) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def test_one_object_a_line_of_all_dialects() -> None:
    found = read_json_results(lines(SGLANG, VLLM, BATCH, {"unrelated": 1}), "r.jsonl")
    assert found is not None
    assert [(result.line, str(result.dialect)) for result in found.results] == [
        (1, "sglang-bench-serving"),
        (2, "vllm-bench-serve"),
        (3, "sglang-bench-one-batch-server"),
    ]
    assert (found.source, found.lines, found.broken) == ("r.jsonl", 4, ())


def test_a_rate_without_a_limit_as_python_writes_it() -> None:
    text = lines(SGLANG | {"request_rate": math.inf, "mean_tpot_ms": math.nan})
    assert "Infinity" in text and "NaN" in text
    found = read_json_results(text, "r")
    assert found is not None
    assert (found.results[0].request_rate, found.results[0].tpot_mean_ms) == (math.inf, None)


def test_objects_over_many_lines_and_in_a_list() -> None:
    found = read_json_results(json.dumps(SGLANG, indent=2) + "\n" + json.dumps(VLLM, indent=2), "r")
    assert found is not None
    assert [result.line for result in found.results] == [1, 2 + json.dumps(SGLANG, indent=2).count("\n")]
    listed = read_json_results(json.dumps([SGLANG, 5, VLLM]), "r")
    assert listed is not None and len(listed.results) == 2


def test_a_broken_line_costs_itself_alone() -> None:
    whole = lines(SGLANG)
    found = read_json_results(whole + whole[:200] + "\n" + whole + whole[:100], "r")
    assert found is not None
    assert [result.line for result in found.results] == [1, 3]
    assert found.broken == (2, 4)


def test_errors_of_the_details_are_counted() -> None:
    errors = ["", TRANSFER_ERROR, "TimeoutError", None, "Traceback ...\n" + TRANSFER_ERROR]
    found = read_json_results(lines(SGLANG, SGLANG | {"errors": errors, "max_concurrency": 1024}), "r")
    assert found is not None
    assert (found.transfer_errors.count, found.transfer_errors.concurrencies) == (2, frozenset({1024}))
    assert found.transfer_errors.first[0].number == 2


def test_half_a_character_can_be_written() -> None:
    found = read_json_results(lines(VLLM | {"model_id": "m\ud800", "backend": "b\udfff" * 999}), "r")
    assert found is not None
    result = found.results[0]
    assert result.model == "m?"
    assert result.engine is not None and len(result.engine.encode()) == 500


def test_other_json_is_no_result() -> None:
    assert read_json_results('{"a": 1}\n[2]\n', "r") is None
    assert read_json_results("", "r") is None
    assert read_json_results("[" * 100_000, "r") is None


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from([SGLANG, VLLM, BATCH]), st.data())
def test_any_value_under_a_known_key_is_a_number_or_unknown(record: dict[str, Any], data: st.DataObject) -> None:
    keys = data.draw(st.lists(st.sampled_from([*record, "errors", "output_lens"]), min_size=1, max_size=6))
    changed = record | {key: data.draw(values) for key in keys}
    found = read_json_results(json.dumps(changed), "r")
    assert found is not None
    for column in ("ttft_mean_ms", "duration_s", "output_tokens_per_s", "requests_successful"):
        number = getattr(found.results[0], column)
        assert number is None or 0 <= number < math.inf


@given(st.text(alphabet='{}[]",:0 \nab', max_size=200))
def test_any_text_is_read_without_an_exception(text: str) -> None:
    assert read_json_results(text, "r") is None
