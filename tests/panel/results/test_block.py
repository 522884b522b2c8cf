from __future__ import annotations

import pytest
from pdpanel.panel.results.block import ServingBlock, begins_block, ends_block

from .excerpts import ENDING, HEADING


@pytest.mark.parametrize("text", [HEADING, "bench-1  | " + HEADING, "100%|##| 8/8 [00:01<00:00]" + HEADING])
def test_the_heading(text: str) -> None:
    assert begins_block(text)


@pytest.mark.parametrize("text", ["Serving Benchmark Result", "== Offline Throughput Benchmark Result ==", ENDING])
def test_what_is_no_heading(text: str) -> None:
    assert not begins_block(text)


@pytest.mark.parametrize("text", [ENDING, ENDING + "  ", "bench-1  | " + ENDING, "0: " + ENDING])
def test_the_end(text: str) -> None:
    assert ends_block(text)


@pytest.mark.parametrize("text", ["=====", HEADING, ENDING + " done", "---" + ENDING])
def test_what_is_no_end(text: str) -> None:
    assert not ends_block(text)


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "    ",
        "bench-1  | ",
        "3: ",
        "[pod/bench/main] ",
        "2026-01-01T00:00:00.123456789Z ",
        "[pod/bench/main] 2026-01-01T00:00:00Z ",
    ],
)
def test_labelled_numbers_behind_prefixes(prefix: str) -> None:
    block = ServingBlock(1)
    block.read(2, f"{prefix}{'Mean TTFT (ms):':<40} 241.10    ")
    assert dict(block.texts()) == {"mean ttft (ms)": "241.10"}
    assert block.line_of("mean ttft (ms)") == 2


def test_log_lines_in_between_are_not_labels() -> None:
    block = ServingBlock(1)
    for text in (
        "[2026-01-01 00:00:00] Decode batch. #running-req: 8, gen throughput: 100",
        "INFO:     127.0.0.1:40000 - POST /generate HTTP/1.1 200 OK",
        "the Mean TTFT (ms): 5",
        "Mean TTFT (ms):",
        "Mean TTFT (ms) 7",
    ):
        block.read(2, text)
    assert "mean ttft (ms)" not in block


def test_the_first_of_two_equal_labels_counts() -> None:
    block = ServingBlock(1)
    block.read(2, "Successful requests:   16")
    block.read(3, "Successful requests:   17")
    assert block.text("successful requests") == "16"
    assert block.text("failed requests") is None
