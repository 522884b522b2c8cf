"""Several prompts in one request, several answers to one prompt."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pdpanel.engine.config import Mode
from pdpanel.engine.errors import CapacityError
from pdpanel.engine.request import Finish, FinishKind

if TYPE_CHECKING:
    from .conftest import Ask, FakeEngine, MakeEngine

CHAT = {"messages": [{"role": "user", "content": "Hi"}]}
LOST = Finish(FinishKind.ABORT, message="The KV transfer failed.", http_status=502)
SEVERAL: list[tuple[str, dict[str, Any], int]] = [
    ("/generate", {"text": ["a", "bc"]}, 2),
    ("/generate", {"input_ids": [[1], [2, 3]], "sampling_params": {"n": 2}}, 4),
    ("/generate", {"text": "a", "sampling_params": {"n": 3}}, 3),
    ("/v1/completions", {"prompt": ["a", "bc"]}, 2),
    ("/v1/completions", {"prompt": [[1], [2, 3]], "n": 2}, 4),
    ("/v1/chat/completions", {**CHAT, "n": 3}, 3),
]
IDS = [f"{index}{route}" for index, (route, _, _) in enumerate(SEVERAL)]


@pytest.mark.parametrize(("route", "body", "answers"), SEVERAL, ids=IDS)
def test_each_answer_is_a_request_of_its_own(
    engine: FakeEngine, ask: Ask, route: str, body: dict[str, Any], answers: int
) -> None:
    reply = ask(engine, route, body)
    assert reply.status == 200
    if route == "/generate":
        assert [one["text"] for one in reply.json] == ["Hello"] * answers
        assert len({one["meta_info"]["id"] for one in reply.json}) == answers
    else:
        assert [choice["index"] for choice in reply.json["choices"]] == list(range(answers))
        kind = ChatCompletion if "chat" in route else Completion
        assert kind.model_validate(reply.json, strict=True).usage is not None
    assert len(engine.requests) == answers
    assert len({request.rid for request in engine.requests}) == 1  # so that one abort ends all


@pytest.mark.parametrize(("route", "body", "answers"), SEVERAL, ids=IDS)
@pytest.mark.parametrize("late_finish", [False, True])
def test_streams_are_interleaved_by_index_and_end_once(
    make_engine: MakeEngine, ask: Ask, route: str, body: dict[str, Any], answers: int, late_finish: bool
) -> None:
    engine = make_engine(late_finish=late_finish)
    events = ask(engine, route, {**body, "stream": True}).data
    if route == "/generate":
        texts = {event["index"]: event["text"] for event in events}
        ends = [event["index"] for event in events if event["meta_info"]["finish_reason"]]
    else:
        choices = [event["choices"][0] for event in events]
        texts = dict.fromkeys(range(answers), "")
        for choice in choices:
            texts[choice["index"]] += choice["text"] if "text" in choice else choice["delta"].get("content", "")
        ends = [choice["index"] for choice in choices if choice["finish_reason"]]
        assert len({event["id"] for event in events}) == 1
        if "chat" in route:
            roles = [choice["index"] for choice in choices if choice["delta"].get("role")]
            assert sorted(roles) == list(range(answers))
            for event in events:
                ChatCompletionChunk.model_validate(event, strict=True)
    assert texts == dict.fromkeys(range(answers), "Hello")
    assert sorted(ends) == list(range(answers))


def test_usage_counts_each_prompt_once_and_every_answer(engine: FakeEngine, ask: Ask) -> None:
    body = {"prompt": ["a", "bcd"], "n": 2, "max_tokens": 3}
    usage = ask(engine, "/v1/completions", body).json["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (4, 12, 16)
    body |= {"stream": True, "stream_options": {"include_usage": True}}
    events = ask(engine, "/v1/completions", body).data
    assert [event for event in events if not event["choices"]] == [events[-1]]
    assert events[-1]["usage"] == usage


def test_answers_to_a_prompt_differ_by_a_seed_that_is_reproducible(engine: FakeEngine, ask: Ask) -> None:
    ask(engine, "/v1/completions", {"prompt": ["a", "b"], "n": 3, "seed": 40})
    assert [request.sampling.seed for request in engine.requests] == [40, 41, 42] * 2
    engine.requests.clear()
    ask(engine, "/v1/completions", {"prompt": "a", "n": 2})
    assert [request.sampling.seed for request in engine.requests] == [None, None]


def test_sampling_may_differ_by_prompt(engine: FakeEngine, ask: Ask) -> None:
    ask(engine, "/generate", {"text": ["a", "b"], "sampling_params": [{"max_new_tokens": 1}, {"max_new_tokens": 2}]})
    assert [request.sampling.max_new_tokens for request in engine.requests] == [1, 2]


def test_each_answer_may_have_its_own_id(engine: FakeEngine, ask: Ask) -> None:
    answers = ask(engine, "/generate", {"text": ["a", "b"], "rid": ["x", "y"]}).json
    assert [answer["meta_info"]["id"] for answer in answers] == ["x", "y"]
    [answer] = ask(engine, "/generate", {"text": ["a"], "rid": ["x"]}).json
    assert answer["meta_info"]["id"] == "x"
    answers = ask(engine, "/generate", {"text": ["a", "b"], "rid": "x"}).json
    assert [answer["meta_info"]["id"] for answer in answers] == ["x_0", "x_1"]


def test_a_list_of_one_is_a_list(engine: FakeEngine, ask: Ask) -> None:
    for body in ({"text": ["a"]}, {"input_ids": [[1]]}):
        [answer] = ask(engine, "/generate", body).json
        assert answer["text"] == "Hello"


@pytest.mark.parametrize(
    ("route", "body", "room", "expected"),
    [
        ("/generate", {"text": ["a", "b"]}, 7, [7, 8]),
        ("/generate", {"text": ["a", "b"]}, [7, 70], [7, 70]),
        ("/generate", {"text": "a", "sampling_params": {"n": 3}}, 7, [7, 8, 9]),
        ("/generate", {"text": ["a", "b"], "sampling_params": {"n": 2}}, [7, 70], [7, 8, 70, 71]),
        ("/generate", {"text": "a"}, [7], [7]),
        ("/v1/completions", {"prompt": ["a", "b"]}, [7, 70], [7, 70]),
        ("/v1/completions", {"prompt": "a", "n": 2}, 7, [7, 8]),
        ("/v1/chat/completions", {**CHAT, "n": 2}, [7, 70], [7, 70]),
    ],
)
@pytest.mark.parametrize("mode", [Mode.PREFILL, Mode.DECODE])
def test_every_answer_has_a_room_on_both_sides_alike(
    make_engine: MakeEngine,
    ask: Ask,
    mode: Mode,
    route: str,
    body: dict[str, Any],
    room: object,
    expected: list[int],
) -> None:
    engine = make_engine(mode)
    count = len(room) if isinstance(room, list) else 0
    place = {
        "bootstrap_room": room,
        "bootstrap_host": ["127.0.0.1"] * count or "127.0.0.1",
        "bootstrap_port": [8998] * count or None,
    }
    assert ask(engine, route, {**body, **place}).status == 200
    assert [request.bootstrap.room for request in engine.requests if request.bootstrap] == expected


def test_rooms_do_not_run_over(make_engine: MakeEngine, ask: Ask) -> None:
    body = {"text": ["a", "b"], "bootstrap_room": 2**63 - 1}
    reply = ask(make_engine(Mode.PREFILL), "/generate", body)
    assert reply.status == 400 and reply.error["param"] == "bootstrap_room"


@pytest.mark.parametrize(("route", "body", "answers"), SEVERAL, ids=IDS)
def test_what_does_not_fit_is_refused_whole(
    make_engine: MakeEngine, ask: Ask, route: str, body: dict[str, Any], answers: int
) -> None:
    engine = make_engine(spare=answers - 1)
    reply = ask(engine, route, body)
    assert reply.status == 503
    assert f"asks for {answers} answers where the worker has room for {answers - 1} more" in reply.error["message"]
    assert int(reply.headers["Retry-After"]) >= 1
    assert not engine.requests
    assert ask(make_engine(spare=answers), route, body).status == 200


@pytest.mark.parametrize("streaming", [False, True])
def test_one_that_fails_ends_the_answer_with_one_error(make_engine: MakeEngine, ask: Ask, streaming: bool) -> None:
    engine = make_engine(fail_after=2, failure=LOST)
    reply = ask(engine, "/generate", {"text": ["a", "b", "c"], "stream": streaming})
    if streaming:
        assert [event["error"]["code"] for event in reply.data if "error" in event] == [502]
        assert "error" in reply.data[-1]
    else:
        assert (reply.status, reply.error["code"]) == (502, 502)
    assert len(engine.ended) + len(engine.dropped) == len(engine.iterators) == 3


def test_one_that_is_refused_gives_up_the_others(make_engine: MakeEngine, ask: Ask) -> None:
    engine = make_engine(refusal=CapacityError("Full."))
    assert ask(engine, "/generate", {"text": ["a", "b"], "stream": True}).status == 503


def test_a_client_that_leaves_ends_all_of_its_answers(make_engine: MakeEngine, serving: Any) -> None:
    engine = make_engine(hold_after=1)

    async def main() -> None:
        async with serving(engine) as (session, _):
            body = {"text": ["a", "b", "c"], "stream": True}
            async with session.post("/generate", json=body) as response:
                await response.content.readuntil(b"\n\n")
            async with asyncio.timeout(10):
                while len(engine.dropped) < 3:
                    engine.changed.clear()
                    await engine.changed.wait()

    asyncio.run(main())
    assert not engine.ended


@pytest.mark.parametrize(("prompt", "echo"), [("Hi", "Hi"), ([72, 73], None), (["Hi", "é"], "Hi")])
def test_completions_echo_the_prompt(engine: FakeEngine, ask: Ask, prompt: Any, echo: str | None) -> None:
    body = {"prompt": prompt, "echo": True, "n": 2}
    texts = [choice["text"] for choice in ask(engine, "/v1/completions", body).json["choices"]]
    echo = engine.tokenizer.decode(prompt) if echo is None else echo
    assert texts[:2] == [echo + "Hello"] * 2
    if isinstance(prompt[0], str) and isinstance(prompt, list):
        assert texts[2:] == ["éHello"] * 2
    events = ask(engine, "/v1/completions", {**body, "n": 1, "stream": True}).data
    assert "".join(e["choices"][0]["text"] for e in events if e["choices"][0]["index"] == 0) == echo + "Hello"
