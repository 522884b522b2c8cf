from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.panel.bench.answer import Answer, StreamReader, read_whole
from pdpanel.panel.bench.verdict import Verdict, is_right, verdict


def generate(text: str, ids: list[int], finish: str | None = None) -> dict[str, Any]:
    return {"text": text, "output_ids": ids, "meta_info": {"finish_reason": {"type": finish} if finish else None}}


def chat(content: str | None, finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"delta": {"content": content}, "finish_reason": finish}]}


def text(said: str, finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"text": said, "finish_reason": finish}]}


ERROR = {"error": {"message": "The worker is gone.", "type": "x", "code": 502}}
GENERATED = [generate("a", [1]), generate("ab", [1, 2], "length")]


def stream(*events: object, done: int = 1, rest: bytes = b"") -> bytes:
    lines = [b"id: 3 1,2\ndata: " + json.dumps(event).encode() for event in events] + [b"data: [DONE]"] * done
    return b"".join(line + b"\n\n" for line in lines) + rest


def read(data: bytes, size: int = 1 << 20) -> Answer:
    reader = StreamReader()
    for start in range(0, len(data), size):
        reader.feed(data[start : start + size])
    return reader.close()


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        (GENERATED, ("ab", (1, 2), "length")),
        ([chat(""), chat("a"), chat("b"), chat(None, "stop")], ("ab", None, "stop")),
        ([text("a"), text("b", "length")], ("ab", None, "length")),
    ],
)
def test_a_stream_of_each_route(events: list[Any], expected: tuple[object, ...]) -> None:
    answer = read(stream(*events))
    assert (answer.text, answer.token_ids, answer.finish) == expected
    assert (answer.ends, answer.faults, verdict(answer)) == (1, (), Verdict.COMPLETED)


@given(st.integers(1, 200))
def test_bytes_may_be_cut_anywhere(size: int) -> None:
    assert read(stream(*GENERATED), size) == read(stream(*GENERATED))


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (stream(*GENERATED, done=0), "without [DONE]"),
        (stream(GENERATED[0]), ""),  # [DONE] alone is no end
        (stream(*GENERATED, done=2), "follows [DONE]"),
        (stream(*GENERATED, ERROR), "follows the end"),
        (stream(*GENERATED, GENERATED[1]), "follows the end"),
        (stream(*GENERATED, rest=b"data: {"), "within an event"),
        (stream(generate("a", [1]), generate("b", [1, 2], "length")), "text of an event"),
        (stream(generate("a", [1]), generate("ab", [3, 2], "length")), "tokens of an event"),
        (stream("x", *GENERATED), "not an object"),
        (stream({"error": {}}), "no message"),
        (b"data: {nope\n\ndata: [DONE]\n\n", "not JSON"),
        (b"", "without [DONE]"),
    ],
)
def test_what_is_not_one_well_formed_end_is_broken(data: bytes, named: str) -> None:
    answer = read(data)
    assert verdict(answer) is Verdict.BROKEN
    assert named in "; ".join(answer.faults)


def test_an_error_event_is_an_end() -> None:
    answer = read(stream(GENERATED[0], ERROR))
    assert (verdict(answer), answer.error, answer.text) == (Verdict.FAILED, "The worker is gone.", "a")


@pytest.mark.parametrize(
    ("status", "body", "retry_after", "expected"),
    [
        (200, json.dumps(GENERATED[1]), "", Verdict.COMPLETED),
        (200, json.dumps({"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}]}), "", Verdict.COMPLETED),
        (502, json.dumps(ERROR), "", Verdict.FAILED),
        (503, json.dumps(ERROR), "1", Verdict.REFUSED),
        (503, json.dumps(ERROR), "", Verdict.BROKEN),
        (200, json.dumps(ERROR), "", Verdict.BROKEN),
        (500, json.dumps(GENERATED[1]), "", Verdict.BROKEN),
        (500, "<html>", "", Verdict.BROKEN),
        (200, json.dumps(GENERATED[0]), "", Verdict.BROKEN),
        (200, json.dumps(generate("a", [1], "abort")), "", Verdict.FAILED),
    ],
)
def test_whole_answers(status: int, body: str, retry_after: str, expected: Verdict) -> None:
    assert verdict(read_whole(status, body.encode(), retry_after)) is expected


def test_a_whole_answer_must_be_the_reference_and_a_cut_one_its_beginning() -> None:
    reference = read(stream(*GENERATED))
    assert is_right(read(stream(*GENERATED)), reference)
    assert not is_right(read(stream(generate("ac", [1, 3], "length"))), reference)
    assert not is_right(read(stream(generate("a", [1], "length"))), reference)
    assert not is_right(read(stream(generate("ab", [1, 2], "stop"))), reference)
    assert is_right(read(stream(generate("a", [1]), ERROR)), reference)
    assert is_right(read(stream(ERROR)), reference)
    assert not is_right(read(stream(generate("b", [2]), ERROR)), reference)
    chatted = read(stream(chat("ab", "stop")))
    assert is_right(read(stream(chat("a"), ERROR)), chatted)
    assert not is_right(read(stream(chat("b"), ERROR)), chatted)
