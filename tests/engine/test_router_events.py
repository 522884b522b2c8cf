"""Events are cut out of any chunks, and the merge sends each one once, in order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.engine.router.events import Event, EventCutter
from pdpanel.engine.router.merge import Merge


def cut(data: bytes, sizes: list[int]) -> tuple[list[Event], EventCutter]:
    cutter, found = EventCutter(), []
    for size in sizes:
        found += cutter.feed(data[:size])
        data = data[size:]
    return found + cutter.feed(data), cutter


@given(
    st.lists(st.tuples(st.none() | st.integers(0, 999), st.text('ab {}":,é')), max_size=8),
    st.lists(st.integers(1, 9), max_size=60),
    st.sampled_from([b"\n", b"\r\n"]),
)
def test_any_chunking_gives_the_same_events(rows: list[tuple[int | None, str]], sizes: list[int], end: bytes) -> None:
    wire, expected = b"", []
    for number, text in rows:
        data = b"data: " + text.encode()
        wire += (b"" if number is None else b"id: %d" % number + end) + data + end + end
        expected.append(Event(number, data + b"\n\n"))
    found, cutter = cut(wire, sizes)
    assert found == expected
    assert not cutter.pending


@pytest.mark.parametrize(
    ("wire", "event"),
    [
        (b"data: 1\nid: 7\n\n", Event(7, b"data: 1\n\n")),
        (b"event: x\nid: 7\ndata: 1\n\n", Event(7, b"event: x\ndata: 1\n\n")),
        (b"id:7\ndata: 1\n\n", Event(7, b"data: 1\n\n")),
        (b"id: x\ndata: 1\n\n", Event(None, b"data: 1\n\n")),
        (b'id: 2\ndata: {"text": "id: 9"}\n\n', Event(2, b'data: {"text": "id: 9"}\n\n')),
    ],
)
def test_id_lines_are_read_and_stripped_wherever_they_stand(wire: bytes, event: Event) -> None:
    assert EventCutter().feed(wire) == [event]


def test_kinds_of_events_are_told_without_parsing_json() -> None:
    done, error, comment, text = EventCutter().feed(
        b'data: [DONE]\n\ndata: {"error": {"code": 5}}\n\n: alive\n\ndata: {"text": "error"}\n\n'
    )
    assert (done.is_done, done.is_error) == (True, False)
    assert (error.is_error, error.data) == (True, b'{"error": {"code": 5}}')
    assert (comment.is_comment, text.is_comment, text.is_error, text.is_done) == (True, False, False, False)


def test_a_cut_off_event_is_pending() -> None:
    cutter = EventCutter()
    assert cutter.feed(b"data: 1\n\ndata: 2\n") == [Event(None, b"data: 1\n\n")]
    assert cutter.pending


def event(number: int | None) -> Event:
    return Event(number, f"data: {number}\n\n".encode())


@given(st.sets(st.integers(1, 12), min_size=1), st.booleans(), st.integers(0, 3), st.data())
def test_every_interleaving_gives_decodes_stream_once(
    numbers: set[int], role_chunk: bool, shared: int, data: st.DataObject
) -> None:
    """Prefill has a prefix of decode's stream; whatever comes first, the client gets each event once and in order."""
    whole = [0] * role_chunk + sorted(numbers)
    prefill, decode = whole[: shared + role_chunk], list(whole)
    merge, sent = Merge(), b""
    while prefill or decode:
        if prefill and (not decode or data.draw(st.booleans())):
            sent += merge.from_prefill(event(prefill.pop(0)))
        else:
            sent += merge.from_decode(event(decode.pop(0)))
    assert sent + merge.finish() == b"".join(event(number).payload for number in whole)


def test_the_role_chunk_waits_for_the_first_token() -> None:
    merge = Merge()
    assert merge.from_prefill(event(0)) == b""
    assert merge.relayed == -1
    assert merge.from_prefill(event(1)) == b"data: 0\n\ndata: 1\n\n"
    assert [merge.from_decode(event(n)) for n in (0, 1, 2)] == [b"", b"", b"data: 2\n\n"]


def test_a_new_attempt_forgets_what_was_held_back() -> None:
    merge = Merge()
    merge.from_prefill(event(0))
    merge.begin_attempt()
    assert merge.from_decode(event(0)) + merge.from_decode(event(1)) == b"data: 0\n\ndata: 1\n\n"


def test_a_new_attempt_continues_after_what_was_sent() -> None:
    """The seam for replay: the next attempt's events are told apart by their numbers alone."""
    merge = Merge()
    merge.from_prefill(event(1))
    merge.from_decode(event(2))
    merge.begin_attempt()
    assert [merge.from_decode(event(n)) for n in (1, 2, 3)] == [b"", b"", b"data: 3\n\n"]


def test_events_without_numbers_come_from_decode_alone() -> None:
    merge = Merge()
    assert merge.from_prefill(event(None)) == b""
    assert merge.from_decode(event(None)) == b"data: None\n\n"
    assert merge.from_decode(Event(None, b": alive\n\n")) == b""
