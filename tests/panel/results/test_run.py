from __future__ import annotations

from typing import Any

import pytest
from pdpanel.panel.results.run import Marker, Run, is_run_start, read_arguments

ARGUMENTS = (
    "benchmark_args=Namespace(backend='sglang', base_url=None, host='127.0.0.1', port=2322, dataset_name='random', "
    "dataset_path='', model='/models/Qwen3-32B', tokenizer=None, num_prompts=1024, random_input_len=1024, "
    "random_output_len=512, random_range_ratio=1.0, request_rate=inf, max_concurrency=None, seed=1)"
)


def filled(run: Run) -> dict[str, Any]:
    measures: dict[str, Any] = {}
    run.fill(measures)
    return measures


def test_arguments_are_read_and_none_is_left_out() -> None:
    assert read_arguments(ARGUMENTS) == {
        "backend": "sglang",
        "dataset_name": "random",
        "model": "/models/Qwen3-32B",
        "num_prompts": "1024",
        "random_input_len": "1024",
        "random_output_len": "512",
        "request_rate": "inf",
    }


@pytest.mark.parametrize("text", ["argparse.Namespace without arguments", "model='x'", "MyNamespace(model='x')"])
def test_other_lines_hold_no_arguments(text: str) -> None:
    assert not read_arguments(text)


def test_a_name_within_a_name_is_not_an_argument() -> None:
    assert read_arguments("Namespace(draft_model='d', my_num_prompts=3)") == {}


def test_arguments_fill_what_a_result_does_not_say() -> None:
    run = Run(arguments=read_arguments(ARGUMENTS) or {})
    assert filled(run) == {"request_rate": float("inf"), "input_length": 1024, "output_length": 512}
    measures = {"request_rate": 4.0}
    run.fill(measures)
    assert measures["request_rate"] == 4.0
    assert (run.model, run.backend, run.requests_sent(1000)) == ("/models/Qwen3-32B", "sglang", 1024)


def test_lengths_of_other_data_sets_are_not_those_of_the_random_one() -> None:
    run = Run(arguments={"dataset_name": "sharegpt", "random_input_len": "1024", "num_prompts": "1000"})
    assert filled(run) == {}
    assert run.requests_sent(3) is None


def test_lines_of_traffic_are_read() -> None:
    run = Run()
    run.read("Traffic request rate: 12.5")
    run.read("Maximum request concurrency: 64")
    assert filled(run) == {"request_rate": 12.5, "concurrency": 64}
    other = Run()
    other.read("Maximum request concurrency: None")
    other.read("the Traffic request rate: 5")
    assert filled(other) == {}


def test_a_full_bar_says_how_many_requests_were_sent() -> None:
    run = Run()
    run.read("Loading safetensors: 100%|##########| 4/4 [00:01<00:00]")
    run.read(" 50%|█████     | 512/1024 [00:10<00:10, 50.0it/s]")
    assert run.requests_sent(4) == 4
    run.read("100%|██████████| 1024/1024 [00:20<00:00, 50.0it/s]")
    assert run.requests_sent(1001) == 1024
    assert run.requests_sent(1025) is None


def test_the_most_certain_number_of_requests_goes_first() -> None:
    marker = Marker(1, True, 8, 1024, 1024, prompts=16)
    run = Run(marker, {"dataset_name": "random", "num_prompts": "20"})
    run.read("Total prompts: 18")
    run.read("100%|##| 22/22 [00:01<00:00]")
    assert [run.requests_sent(successful) for successful in (16, 17, 19, 21, 23)] == [16, 18, 20, 22, None]


def test_a_marker_goes_before_arguments() -> None:
    run = Run(Marker(7, False, 8, 128, 16), {"max_concurrency": "9", "dataset_name": "random", "input_len": "5"})
    assert filled(run) == {"concurrency": 8, "input_length": 128, "output_length": 16}
    assert run.begun_at == 7


def test_numbers_of_arguments_that_are_none_are_unknown() -> None:
    assert filled(Run(arguments={"max_concurrency": "many", "request_rate": "1.234,5"})) == {}


def test_the_start_of_a_run() -> None:
    assert is_run_start("Warmup completed with 1 sequences. Starting main benchmark run...")
    assert is_run_start("Starting main benchmark run...")
    assert not is_run_start("Starting warmup with 1 sequences...")
