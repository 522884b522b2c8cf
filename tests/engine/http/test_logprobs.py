"""Log probabilities in the forms of SGLang and of OpenAI; the scripted engine gives output token i the value -i - 1."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pdpanel.engine.config import Mode
from pdpanel.engine.request import LogprobParams

if TYPE_CHECKING:
    from .conftest import Ask, FakeEngine, MakeEngine

CHAT = {"messages": [{"role": "user", "content": "Hi"}]}
ROOM = {"bootstrap_host": "127.0.0.1", "bootstrap_port": 8998, "bootstrap_room": 7}


def test_sglang_tells_the_output_alone_by_default(engine: FakeEngine, ask: Ask) -> None:
    answer = ask(engine, "/generate", {"text": "Hi", "return_logprob": True}).json
    meta, ids = answer["meta_info"], answer["output_ids"]
    assert meta["output_token_logprobs"] == [[-1.0 - place, token, None] for place, token in enumerate(ids)]
    assert meta["input_token_logprobs"] == []
    assert "output_top_logprobs" not in meta and "output_token_ids_logprobs" not in meta
    assert engine.last.logprobs == LogprobParams(0, (), 2)


@pytest.mark.parametrize("start", [0, 1, 3, 4])
def test_sglang_tells_the_prompt_from_a_place_on(engine: FakeEngine, ask: Ask, start: int) -> None:
    body = {"text": "Hi, ", "return_logprob": True, "logprob_start_len": start, "top_logprobs_num": 2}
    meta = ask(engine, "/generate", body).json["meta_info"]
    prompt = engine.last.prompt_ids
    told = meta["input_token_logprobs"]
    assert [token for _, token, _ in told] == list(prompt[start:])
    assert [value for value, _, _ in told] == [None, *(-100.0 - place for place in range(start + 1, 4))][: 4 - start]
    assert len(meta["input_top_logprobs"]) == len(told)
    for (value, token, _), top in zip(told, meta["input_top_logprobs"], strict=True):
        assert top == (None if value is None else [[value, token, None], [value - 0.5, token + 1, None]])


def test_sglang_tells_texts_and_named_tokens_when_asked(engine: FakeEngine, ask: Ask) -> None:
    body = {
        "text": "Hi",
        "return_logprob": True,
        "return_text_in_logprobs": True,
        "token_ids_logprob": [3, 257],
        "logprob_start_len": 0,
    }
    meta = ask(engine, "/generate", body).json["meta_info"]
    assert [text for _, _, text in meta["output_token_logprobs"]] == [*"Hello", "<|im_end|>"]
    assert [text for _, _, text in meta["input_token_logprobs"]] == ["H", "i"]
    [first, *_] = meta["output_token_ids_logprobs"]
    assert [entry[:2] for entry in first] == [[-9.0, 3], [-9.0, 257]]
    assert meta["input_token_ids_logprobs"][0] is None


def test_prefill_tells_the_prompts_and_decode_does_not(make_engine: MakeEngine, ask: Ask) -> None:
    body = {"text": "Hi", "return_logprob": True, "logprob_start_len": 0, **ROOM}
    prefill = ask(make_engine(Mode.PREFILL), "/generate", body).json["meta_info"]
    decode = ask(make_engine(Mode.DECODE), "/generate", body).json["meta_info"]
    assert len(prefill["input_token_logprobs"]) == 2
    assert decode["input_token_logprobs"] == []
    assert len(decode["output_token_logprobs"]) == 6
    assert prefill["output_token_logprobs"] == decode["output_token_logprobs"][:1]


def test_sglang_streams_are_cumulative(engine: FakeEngine, ask: Ask) -> None:
    body = {"text": "Hi", "return_logprob": True, "logprob_start_len": 0, "top_logprobs_num": 1, "stream": True}
    for event in ask(engine, "/generate", body).data:
        meta = event["meta_info"]
        assert len(meta["output_token_logprobs"]) == meta["completion_tokens"] == len(meta["output_top_logprobs"])
        assert len(meta["input_token_logprobs"]) == 2


@pytest.mark.parametrize("wanted", [0, 1, 3])
def test_completions_tell_tokens_values_and_offsets(make_engine: MakeEngine, ask: Ask, wanted: int) -> None:
    engine = make_engine(reply="aé")
    answer = ask(engine, "/v1/completions", {"prompt": "Hi", "logprobs": wanted}).json
    logprobs = Completion.model_validate(answer, strict=True).choices[0].logprobs
    assert logprobs is not None and logprobs.top_logprobs is not None
    assert logprobs.tokens == ["a", "\ufffd", "\ufffd", "<|im_end|>"]
    assert logprobs.token_logprobs == [-1.0, -2.0, -3.0, -4.0]
    assert logprobs.text_offset == [0, 1, 1, 2]
    assert logprobs.top_logprobs[0]["a"] == -1.0
    assert len(logprobs.top_logprobs[0]) == max(1, wanted)


def test_a_chat_tells_tokens_as_bytes(make_engine: MakeEngine, ask: Ask) -> None:
    engine = make_engine(reply="é")
    answer = ask(engine, "/v1/chat/completions", {**CHAT, "logprobs": True, "top_logprobs": 2}).json
    logprobs = ChatCompletion.model_validate(answer, strict=True).choices[0].logprobs
    assert logprobs is not None and logprobs.content is not None
    assert [entry.bytes for entry in logprobs.content[:2]] == [[0xC3], [0xA9]]
    assert [entry.logprob for entry in logprobs.content] == [-1.0, -2.0, -3.0]
    assert [len(entry.top_logprobs) for entry in logprobs.content] == [2, 2, 2]
    assert logprobs.content[2].token == "<|im_end|>"
    plain = ask(engine, "/v1/chat/completions", {**CHAT, "logprobs": False}).json
    assert plain["choices"][0]["logprobs"] is None


@pytest.mark.parametrize("per_event", [1, 3])
@pytest.mark.parametrize("stop", [None, "l", "日!"])
def test_a_stream_tells_each_token_once(make_engine: MakeEngine, ask: Ask, per_event: int, stop: str | None) -> None:
    engine = make_engine(reply="Hél日o", per_event=per_event)
    body = {**CHAT, "logprobs": True, "stop": stop}
    whole = ask(engine, "/v1/chat/completions", body).json["choices"][0]["logprobs"]["content"]
    chunks = ask(engine, "/v1/chat/completions", {**body, "stream": True}).data
    parts: list[Any] = []
    for chunk in chunks:
        logprobs = ChatCompletionChunk.model_validate(chunk, strict=True).choices[0].logprobs
        parts += [] if logprobs is None else chunk["choices"][0]["logprobs"]["content"]
    assert parts == whole
    completion = {"prompt": "Hi", "logprobs": 1, "stop": stop}
    whole = ask(engine, "/v1/completions", completion).json["choices"][0]["logprobs"]
    chunks = ask(engine, "/v1/completions", {**completion, "stream": True}).data
    for field in ("tokens", "token_logprobs", "text_offset", "top_logprobs"):
        told = [chunk["choices"][0]["logprobs"][field] for chunk in chunks if chunk["choices"][0]["logprobs"]]
        assert [entry for part in told for entry in part] == whole[field]
