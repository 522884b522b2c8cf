"""A stream that goes on elsewhere: tokens that the client has are replayed, and event numbers tell what they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pdpanel.engine.config import Mode
from pdpanel.engine.request import Finish, FinishKind

from .conftest import Reply, parse_event

if TYPE_CHECKING:
    from .conftest import Ask, FakeEngine, MakeEngine

ATTEMPT = {"x-pdpanel-attempt": "1"}
CHAT = {"messages": [{"role": "user", "content": "Hi"}]}
ROUTES = [
    ("/generate", {"text": "Hi"}),
    ("/generate", {"text": "Hi", "sampling_params": {"stop": ["é|", "! "]}}),
    ("/v1/completions", {"prompt": "Hi", "max_tokens": 40}),
    ("/v1/completions", {"prompt": "Hi", "max_tokens": 9, "stream_options": {"include_usage": True}}),
    ("/v1/chat/completions", CHAT),
    ("/v1/chat/completions", {**CHAT, "stop": "! y", "stream_options": {"continuous_usage_stats": True}}),
]


def numbered(reply: Reply) -> list[tuple[int, tuple[int, ...], Any]]:
    """Number, token ids and data of each event, without what differs between answers."""
    found = []
    for event in reply.lines[:-1]:
        number, data = parse_event(event)
        assert number is not None
        _, _, ids = event.split("\n")[0].removeprefix("id: ").partition(" ")
        data.pop("created", None)
        if "meta_info" in data:
            data["meta_info"].pop("e2e_latency", None)
        found.append((number, tuple(map(int, ids.split(","))) if ids else (), data))
    assert reply.lines[-1] == "data: [DONE]"
    return found


@pytest.mark.parametrize(("route", "body"), ROUTES, ids=[f"{index}{route}" for index, (route, _) in enumerate(ROUTES)])
def test_a_stream_that_broke_anywhere_goes_on_as_if_nothing_had_happened(
    make_engine: MakeEngine, ask: Ask, route: str, body: dict[str, Any]
) -> None:
    engine = make_engine(reply="Aé日!🎉 ! yes")
    body = {**body, "rid": "r", "stream": True}
    whole = numbered(ask(engine, route, body, headers=ATTEMPT))
    assert len(whole) > 5
    for cut in range(len(whole) + 1):
        seen = [token for _, ids, _ in whole[:cut] for token in ids]
        last = whole[cut - 1][0] if cut else -1
        again = numbered(ask(engine, route, {**body, "replayed_ids": seen}, headers=ATTEMPT))
        assert [event for event in again if event[0] > last] == whole[cut:], cut


def test_the_ids_of_a_stream_are_the_tokens_of_the_answer(make_engine: MakeEngine, ask: Ask) -> None:
    engine = make_engine(reply="é日")
    whole = ask(engine, "/generate", {"text": "Hi"}).json["output_ids"]
    for route, body in ROUTES[:1] + ROUTES[2:3] + ROUTES[4:5]:
        events = numbered(ask(engine, route, {**body, "stream": True}, headers=ATTEMPT))
        assert [token for _, ids, _ in events for token in ids] == whole


def test_a_whole_answer_holds_the_replayed_tokens(engine: FakeEngine, ask: Ask) -> None:
    first = ask(engine, "/generate", {"text": "Hi"}).json
    again = ask(engine, "/generate", {"text": "Hi", "replayed_ids": first["output_ids"][:3]}).json
    assert (again["text"], again["output_ids"]) == (first["text"], first["output_ids"])
    assert again["meta_info"]["completion_tokens"] == first["meta_info"]["completion_tokens"]
    assert engine.last.replayed_ids == tuple(first["output_ids"][:3])


@pytest.mark.parametrize("mode", [Mode.PREFILL, Mode.DECODE])
def test_what_ended_already_needs_no_engine(make_engine: MakeEngine, ask: Ask, mode: Mode) -> None:
    engine = make_engine(mode)
    room = {"bootstrap_host": "127.0.0.1", "bootstrap_port": 8998, "bootstrap_room": 7}
    ids = [*engine.tokenizer.encode("Hello"), engine.model.eos_ids[0]]
    reply = ask(engine, "/generate", {"text": "Hi", "stream": True, "replayed_ids": ids, **room}, headers=ATTEMPT)
    [(number, new, data)] = numbered(reply)
    assert (number, new, data["text"]) == (6, (ids[-1],), "Hello")
    assert data["meta_info"]["finish_reason"]["type"] == "stop"
    assert not engine.requests


@pytest.mark.parametrize(
    ("replayed", "named"),
    [([1, 2, 3], "3 tokens are more"), ([10**6], "replayed_ids[0]"), ([-1], "replayed_ids[0]"), ("x", "replayed_ids")],
)
def test_what_cannot_be_replayed_is_named(engine: FakeEngine, ask: Ask, replayed: object, named: str) -> None:
    body = {"text": "Hi", "replayed_ids": replayed, "sampling_params": {"max_new_tokens": 2}}
    reply = ask(engine, "/generate", body)
    assert reply.status == 400 and named in reply.error["message"], reply.body


def test_the_time_that_is_left_reaches_the_engine(engine: FakeEngine, ask: Ask) -> None:
    ask(engine, "/generate", {"text": "Hi"}, headers={"x-pdpanel-deadline-ms": "90000"})
    assert engine.last.deadline_s is not None and 0 < engine.last.deadline_s <= 90
    ask(engine, "/generate", {"text": "Hi"})
    assert engine.last.deadline_s is None


@pytest.mark.parametrize("value", ["", "soon", "-5", "1.5", "\u0663".encode("utf-8").decode("latin-1"), "9" * 30])
def test_a_deadline_that_is_no_number_is_refused(engine: FakeEngine, ask: Ask, value: str) -> None:
    reply = ask(engine, "/generate", {"text": "Hi"}, headers={"x-pdpanel-deadline-ms": value})
    assert reply.status == 400
    assert reply.error["param"] == "x-pdpanel-deadline-ms"


def test_a_deadline_that_is_over_before_the_start_is_504(engine: FakeEngine, ask: Ask) -> None:
    reply = ask(engine, "/v1/completions", {"prompt": "Hi"}, headers={"x-pdpanel-deadline-ms": "0"})
    assert (reply.status, reply.error["type"]) == (504, "timeout_error")
    assert not engine.requests


OVER = Finish(FinishKind.ABORT, message="The request's time is over.", http_status=504)


@pytest.mark.parametrize("streaming", [False, True])
def test_a_deadline_that_is_over_at_work_is_504_or_an_error_event(
    make_engine: MakeEngine, ask: Ask, streaming: bool
) -> None:
    engine = make_engine(fail_after=2, failure=OVER)
    reply = ask(engine, "/v1/completions", {"prompt": "Hi", "stream": streaming})
    if streaming:
        assert reply.status == 200
        assert reply.data[-1]["error"]["code"] == 504
    else:
        assert (reply.status, reply.error["code"], reply.error["message"]) == (504, 504, OVER.message)
