from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.panel.load.reading import AnswerReader, BadAnswerError


def event(value: object) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def said(text: str, tokens: int | None = None, finish: str | None = None) -> bytes:
    usage = None if tokens is None else {"prompt_tokens": 7, "completion_tokens": tokens}
    return event({"choices": [{"text": text, "finish_reason": finish}], "usage": usage})


DONE = b"data: [DONE]\n\n"


def test_each_event_is_a_token_where_nobody_counts() -> None:
    reader = AnswerReader(10.0, 100)
    for now, data in ((10.5, said("a")), (10.6, said("b")), (10.9, said("c", finish="length")), (11.0, DONE)):
        reader.feed(data, now)
    reader.close(11.0)
    assert (reader.first_s, reader.last_s, reader.tokens, reader.output_tokens) == (10.5, 10.9, 3, None)
    assert list(reader.gaps) == pytest.approx([0.1, 0.3])


def test_several_tokens_in_one_event_share_its_time() -> None:
    reader = AnswerReader(0.0, 100)
    for now, data in ((1.0, said("a", 2)), (1.6, said("bcd", 5)), (1.7, said("e", 6, "stop")), (1.8, DONE)):
        reader.feed(data, now)
    reader.close(1.8)
    assert reader.tokens == reader.output_tokens == 6
    assert list(reader.gaps) == pytest.approx([0.2, 0.2, 0.2, 0.1])
    assert reader.prompt_tokens == 7


def test_an_event_without_text_or_tokens_is_no_token() -> None:
    reader = AnswerReader(0.0, 100)
    reader.feed(event({"choices": [{"delta": {"role": "assistant", "content": ""}, "finish_reason": None}]}), 1.0)
    assert reader.first_s is None
    reader.feed(event({"choices": [{"delta": {"content": "a"}}]}), 2.0)
    reader.feed(event({"choices": [{"delta": {"reasoning_content": "b"}}]}), 2.5)
    reader.feed(event({"choices": [{"delta": {}, "finish_reason": "stop"}]}), 3.0)
    reader.feed(event({"choices": [], "usage": {"prompt_tokens": 4, "completion_tokens": 9}}), 4.0)
    reader.close(4.0)
    assert (reader.first_s, reader.last_s, reader.tokens, reader.output_tokens) == (2.0, 2.5, 2, 9)


def test_half_a_character_is_a_token_when_the_server_counts() -> None:
    reader = AnswerReader(0.0, 100)
    reader.feed(said("", 1), 1.0)
    reader.feed(said("é", 2, "length"), 2.0)
    reader.close(2.0)
    assert (reader.first_s, reader.tokens) == (1.0, 2)


def test_sglangs_own_events_are_read() -> None:
    reader = AnswerReader(0.0, 100)
    for now, count, finish in ((1.0, 1, None), (1.4, 3, None), (1.5, 4, {"type": "length"})):
        meta = {"prompt_tokens": 5, "completion_tokens": count, "finish_reason": finish}
        reader.feed(event({"text": "x" * count, "output_ids": [1], "meta_info": meta}), now)
    reader.close(1.5)
    assert (reader.tokens, reader.prompt_tokens) == (4, 5)
    assert list(reader.gaps) == pytest.approx([0.2, 0.2, 0.1])


@given(st.lists(st.integers(1, 5), min_size=1, max_size=20), st.lists(st.integers(1, 40), min_size=1, max_size=60))
def test_how_the_bytes_are_cut_changes_no_count(sizes: list[int], cuts: list[int]) -> None:
    data, total = b"", 0
    for size in sizes:
        total += size
        data += said("w", total)
    data += said("", total, "length") + DONE
    reader = AnswerReader(0.0, 1000)
    now = 0.0
    while data:
        size = cuts[int(now) % len(cuts)]
        now += 1.0
        reader.feed(data[:size], now)
        data = data[size:]
    reader.close(now)
    assert reader.tokens == total
    assert reader.first_s is not None and reader.last_s is not None
    # The gaps are the whole time from the first token to the last one.
    assert sum(reader.gaps) == pytest.approx(reader.last_s - reader.first_s)
    assert len(reader.gaps) == total - sizes[0]


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"data: <html>\n\n", "garbage"),
        (b"data: [1]\n\n", "garbage"),
        (b'data: {"choices": 5}\n\n', "garbage"),
        (b"x" * (2 << 20), "garbage"),
        (event({"error": {"message": "the cache is full"}}), "error"),
        (event({"object": "error", "message": "the cache is full"}), "error"),
        (b"".join(said("w") for _ in range(30)), "endless"),
    ],
)
def test_what_is_no_answer_is_given_up(data: bytes, kind: str) -> None:
    with pytest.raises(BadAnswerError) as caught:
        AnswerReader(0.0, 20).feed(data, 1.0)
    assert caught.value.kind == kind
    assert kind != "error" or str(caught.value) == "the cache is full"


@pytest.mark.parametrize(
    ("data", "kind"), [(said("a"), "broken"), (b"", "broken"), (DONE, "empty"), (b": beat\n\n", "broken")]
)
def test_an_answer_that_is_not_whole_is_none(data: bytes, kind: str) -> None:
    reader = AnswerReader(0.0, 20)
    reader.feed(data, 1.0)
    with pytest.raises(BadAnswerError) as caught:
        reader.close(2.0)
    assert caught.value.kind == kind
