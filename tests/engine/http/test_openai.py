"""The OpenAI routes, by bytes and through the openai client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import openai
import pytest
from pdpanel.engine.config import Mode
from pdpanel.engine.request import Finish, FinishKind

if TYPE_CHECKING:
    from .conftest import Ask, FakeEngine, MakeEngine

CHAT = {"messages": [{"role": "user", "content": "Hi"}]}
COMPLETION = {"prompt": "Hi"}
PAIR = {"bootstrap_host": "127.0.0.1", "bootstrap_port": 8998, "bootstrap_room": 7}
NUMBERED = {"headers": {"x-pdpanel-attempt": "1"}}
USAGE = {"prompt_tokens": 2, "completion_tokens": 6, "total_tokens": 8, "prompt_tokens_details": {"cached_tokens": 3}}


def texts(chunks: list[Any]) -> list[str]:
    choices = [chunk["choices"][0] for chunk in chunks if chunk["choices"]]
    return [choice["delta"].get("content", "") if "delta" in choice else choice["text"] for choice in choices]


def test_a_whole_completion(engine: FakeEngine, ask: Ask) -> None:
    answer = ask(engine, "/v1/completions", {**COMPLETION, "model": "tiny"}).json
    assert answer["id"].startswith("cmpl-")
    assert (answer["object"], answer["model"]) == ("text_completion", "tiny")
    stop = engine.model.eos_ids[0]
    assert answer["choices"] == [
        {"index": 0, "text": "Hello", "logprobs": None, "finish_reason": "stop", "matched_stop": stop}
    ]
    assert answer["usage"] == USAGE


def test_a_whole_chat(engine: FakeEngine, ask: Ask) -> None:
    answer = ask(engine, "/v1/chat/completions", CHAT).json
    assert answer["id"].startswith("chatcmpl-")
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["message"] == {"role": "assistant", "content": "Hello"}
    assert answer["choices"][0]["finish_reason"] == "stop"
    rendered = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert engine.last.prompt_ids == tuple(engine.tokenizer.encode(rendered))


def test_a_completion_has_16_tokens_by_default_and_a_chat_what_fits(make_engine: MakeEngine, ask: Ask) -> None:
    engine = make_engine(reply="x" * 200)
    assert ask(engine, "/v1/completions", COMPLETION).json["usage"]["completion_tokens"] == 16
    chat = ask(engine, "/v1/chat/completions", CHAT).json
    assert chat["usage"]["total_tokens"] == engine.model.context_length
    assert chat["choices"][0]["finish_reason"] == "length"


def test_the_default_limit_gives_way_to_a_long_prompt(make_engine: MakeEngine, ask: Ask) -> None:
    answer = ask(make_engine(reply="x" * 99), "/v1/completions", {"prompt": "y" * 60}).json
    assert answer["usage"]["completion_tokens"] == 4


def test_a_chat_stream_begins_with_the_role_and_ends_with_the_reason(engine: FakeEngine, ask: Ask) -> None:
    chunks = ask(engine, "/v1/chat/completions", {**CHAT, "stream": True}).data
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert texts(chunks) == ["", "H", "e", "l", "l", "o", ""]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None] * 6 + ["stop"]
    assert all("usage" not in chunk for chunk in chunks)
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}


def test_a_completion_stream_has_a_choice_in_every_chunk(engine: FakeEngine, ask: Ask) -> None:
    chunks = ask(engine, "/v1/completions", {**COMPLETION, "stream": True}).data
    assert texts(chunks) == ["H", "e", "l", "l", "o", ""]
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("path", "body", "opening"), [("/v1/chat/completions", CHAT, [0]), ("/v1/completions", COMPLETION, [])]
)
def test_numbers_of_events_count_tokens(
    engine: FakeEngine, ask: Ask, path: str, body: dict[str, Any], opening: list[int]
) -> None:
    options = {"include_usage": True}
    reply = ask(engine, path, {**body, "stream": True, "stream_options": options}, **NUMBERED)
    assert [number for number, _ in reply.events] == [*opening, 1, 2, 3, 4, 5, 7, 8]


def test_tokens_without_text_count_but_make_no_chunk(make_engine: MakeEngine, ask: Ask) -> None:
    engine = make_engine(reply="é€", per_event=2)
    events = ask(engine, "/v1/completions", {**COMPLETION, "stream": True}, **NUMBERED).events
    assert [number for number, _ in events] == [2, 5, 7]
    assert texts([data for _, data in events]) == ["é", "€", ""]


def test_usage_at_the_end_only_when_asked(engine: FakeEngine, ask: Ask) -> None:
    body = {**COMPLETION, "stream": True, "stream_options": {"include_usage": True}}
    chunks = ask(engine, "/v1/completions", body).data
    assert [chunk["usage"] for chunk in chunks[:-1]] == [None] * 6
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == USAGE


def test_usage_in_every_chunk(engine: FakeEngine, ask: Ask) -> None:
    body = {**CHAT, "stream": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True}}
    chunks = ask(engine, "/v1/chat/completions", body).data
    assert [chunk["usage"]["completion_tokens"] for chunk in chunks] == [0, 1, 2, 3, 4, 5, 6, 6]
    assert [bool(chunk["choices"]) for chunk in chunks] == [True] * 7 + [False]


def test_continuous_usage_alone_adds_no_chunk_without_choices(engine: FakeEngine, ask: Ask) -> None:
    body = {**COMPLETION, "stream": True, "stream_options": {"continuous_usage_stats": True}}
    chunks = ask(engine, "/v1/completions", body).data
    assert all(chunk["choices"] and chunk["usage"] for chunk in chunks)


def test_a_stop_string_across_tokens_is_not_shown(engine: FakeEngine, ask: Ask) -> None:
    body = {**CHAT, "stream": True, "stop": ["llo"]}
    chunks = ask(engine, "/v1/chat/completions", body).data
    assert "".join(texts(chunks)) == "He"
    assert chunks[-1]["choices"][0] == {
        "index": 0,
        "delta": {},
        "logprobs": None,
        "finish_reason": "stop",
        "matched_stop": "llo",
    }
    assert len(engine.dropped) == 1


@pytest.mark.parametrize(("path", "body"), [("/v1/chat/completions", CHAT), ("/v1/completions", COMPLETION)])
@pytest.mark.parametrize("limit", [1, 5])
@pytest.mark.parametrize("reply", ["Hello", "é"])
def test_the_stream_of_prefill_is_the_beginning_of_the_stream_of_decode(
    make_engine: MakeEngine, ask: Ask, path: str, body: dict[str, Any], limit: int, reply: str
) -> None:
    request = {**body, **PAIR, "stream": True, "max_tokens": limit, "stream_options": {"include_usage": True}}
    streams = [
        ask(make_engine(mode, reply=reply), path, request, **NUMBERED).events for mode in (Mode.PREFILL, Mode.DECODE)
    ]
    for events in streams:
        for _, chunk in events:
            chunk["created"] = 0
    prefill, decode = streams
    assert prefill == decode[: len(prefill)]
    assert (len(prefill) == len(decode)) == (limit == 1)
    numbers = [number for number, _ in decode if number is not None]
    assert len(numbers) == len(decode)
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize(
    ("path", "body", "content"),
    [
        ("/v1/chat/completions", CHAT, {"message": {"role": "assistant", "content": "H"}}),
        ("/v1/completions", COMPLETION, {"text": "H"}),
    ],
)
def test_prefill_answers_whole_with_one_token(
    make_engine: MakeEngine, ask: Ask, path: str, body: dict[str, Any], content: dict[str, Any]
) -> None:
    choice = ask(make_engine(Mode.PREFILL), path, {**body, **PAIR}).json["choices"][0]
    assert choice == {"index": 0, **content, "logprobs": None, "finish_reason": "length", "matched_stop": None}


def test_content_as_a_list_of_text_parts(engine: FakeEngine, ask: Ask) -> None:
    """The body that guidellm sends."""
    body = {
        "model": "tiny",
        "stream": True,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        "max_completion_tokens": 4,
        "ignore_eos": True,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "H"}, {"type": "text", "text": "i"}]}],
    }
    assert ask(engine, "/v1/chat/completions", body).status == 200
    parts = engine.last
    ask(engine, "/v1/chat/completions", CHAT)
    assert engine.last.prompt_ids == parts.prompt_ids
    assert parts.sampling.max_new_tokens == 4


def test_what_sglang_router_adds_to_a_chat_is_taken(engine: FakeEngine, ask: Ask) -> None:
    body = {
        **CHAT,
        "model": "unknown",
        "max_completion_tokens": 4,
        "logprobs": False,
        "stream": False,
        "no_stop_trim": False,
        "ignore_eos": False,
        "continue_final_message": False,
        "skip_special_tokens": True,
        "separate_reasoning": True,
        "stream_reasoning": True,
        "return_hidden_states": False,
        "tools": [],
        "tool_choice": "none",
    }
    assert ask(engine, "/v1/chat/completions", body).status == 200


def test_what_sglang_router_adds_to_a_completion_is_taken(engine: FakeEngine, ask: Ask) -> None:
    added = {"echo": False, "no_stop_trim": False, "ignore_eos": False, "skip_special_tokens": True}
    body = {**COMPLETION, **added, "return_hidden_states": False, "best_of": 1, "model": "tiny"}
    assert ask(engine, "/v1/completions", body).status == 200


@pytest.mark.parametrize("prompt", [[72, 105], [[72, 105]]])
def test_a_prompt_of_token_ids(engine: FakeEngine, ask: Ask, prompt: list[Any]) -> None:
    assert ask(engine, "/v1/completions", {"prompt": prompt}).status == 200
    assert engine.last.prompt_ids == (72, 105)


def test_a_list_of_one_prompt_counts_as_it(make_engine: MakeEngine, ask: Ask) -> None:
    engine = make_engine(Mode.DECODE)
    lists = {"bootstrap_host": ["10.0.0.1"], "bootstrap_port": [9000], "bootstrap_room": [5]}
    assert ask(engine, "/v1/completions", {"prompt": ["Hi"], **lists}).status == 200
    bootstrap = engine.last.bootstrap
    assert bootstrap is not None
    assert (bootstrap.host, bootstrap.port, bootstrap.room) == ("10.0.0.1", 9000, 5)


def test_a_final_message_can_be_continued(engine: FakeEngine, ask: Ask) -> None:
    messages = [*CHAT["messages"], {"role": "assistant", "content": "Well"}]
    assert ask(engine, "/v1/chat/completions", {"messages": messages, "continue_final_message": True}).status == 200
    assert engine.tokenizer.decode(engine.last.prompt_ids, skip_special_tokens=False).endswith("assistant\nWell")


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_the_openai_client(make_engine: MakeEngine, live: Any) -> None:
    engine = make_engine(reply="Hé!", api_key="k")
    with live(engine) as url, openai.OpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0, timeout=20) as client:
        assert [model.id for model in client.models.list()] == ["tiny"]
        assert client.models.retrieve("tiny").id == "tiny"
        messages: Any = CHAT["messages"]
        chat = client.chat.completions.create(model="tiny", messages=messages, seed=1, temperature=0.5, top_p=0.9)
        assert chat.choices[0].message.content == "Hé!"
        assert chat.usage is not None
        assert chat.usage.completion_tokens == 5
        chunks = list(
            client.chat.completions.create(
                model="tiny", messages=messages, stream=True, stream_options={"include_usage": True}
            )
        )
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "Hé!"
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.total_tokens == chunks[-1].usage.prompt_tokens + 5
        completion = client.completions.create(model="tiny", prompt="Hi", max_tokens=2)
        assert completion.choices[0].finish_reason == "length"
        streamed = client.completions.create(model="tiny", prompt="Hi", stream=True)
        assert "".join(chunk.choices[0].text for chunk in streamed) == "Hé!"
        with client.chat.completions.stream(model="tiny", messages=messages) as stream:
            assert stream.get_final_completion().choices[0].message.content == "Hé!"
        with pytest.raises(openai.NotFoundError, match="does not serve it; set it to 'tiny'"):
            client.completions.create(model="gpt-9", prompt="Hi")
        with pytest.raises(openai.BadRequestError, match="n = 0: out of range; send a whole number from 1"):
            client.completions.create(model="tiny", prompt="Hi", n=0)
        with pytest.raises(openai.AuthenticationError):
            client.with_options(api_key="other").models.list()


def test_the_openai_client_sees_an_error_in_a_stream(make_engine: MakeEngine, live: Any) -> None:
    lost = Finish(FinishKind.ABORT, message="The KV transfer failed.", http_status=502)
    engine = make_engine(fail_after=2, failure=lost)
    with live(engine) as url, openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0) as client:
        messages: Any = CHAT["messages"]
        with pytest.raises(openai.APIError, match="The KV transfer failed") as raised:
            list(client.chat.completions.create(model="tiny", messages=messages, stream=True))
    assert raised.value.type == "peer_error"
