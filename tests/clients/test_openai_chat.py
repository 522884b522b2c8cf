"""The openai client's chat behind each router: whole answers, streams, usage, limits, stops, seeds, n, logprobs."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest
from client_fleet import MODEL, Front
from openai.types.chat import ChatCompletion, ChatCompletionChunk

HELLO: Any = [{"role": "user", "content": "Say hello in French."}]
PARTS: Any = [{"role": "user", "content": [{"type": "text", "text": "Say hello "}, {"type": "text", "text": "in French."}]}]
GREEDY: Any = {"model": MODEL, "temperature": 0}


def text_of(chunks: list[ChatCompletionChunk]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def test_an_answer_is_that_of_the_engine_without_a_router(client: openai.OpenAI, direct: openai.OpenAI) -> None:
    asked: Any = GREEDY | {"messages": HELLO, "max_tokens": 8}
    ours, theirs = client.chat.completions.create(**asked), direct.chat.completions.create(**asked)
    assert isinstance(ours, ChatCompletion)
    assert (ours.object, ours.model, ours.id[:9]) == ("chat.completion", MODEL, "chatcmpl-")
    (choice,) = ours.choices
    assert (choice.index, choice.message.role, choice.finish_reason) == (0, "assistant", "length")
    assert choice.message.content == theirs.choices[0].message.content
    assert ours.usage is not None
    assert theirs.usage is not None
    assert ours.usage.prompt_tokens == theirs.usage.prompt_tokens
    assert (ours.usage.completion_tokens, ours.usage.total_tokens) == (8, ours.usage.prompt_tokens + 8)
    parts = client.chat.completions.create(**asked | {"messages": PARTS})
    assert parts.choices[0].message.content == choice.message.content


def test_a_stream_has_a_role_the_text_and_one_finish(client: openai.OpenAI) -> None:
    asked: Any = GREEDY | {"messages": HELLO, "max_completion_tokens": 8}
    whole = client.chat.completions.create(**asked)
    chunks = list(client.chat.completions.create(**asked, stream=True))
    assert all(isinstance(chunk, ChatCompletionChunk) and len(chunk.choices) == 1 for chunk in chunks)
    assert {(chunk.object, chunk.model) for chunk in chunks} == {("chat.completion.chunk", MODEL)}
    assert len({chunk.id for chunk in chunks}) == 1
    assert [chunk.choices[0].delta.role for chunk in chunks] == ["assistant"] + [None] * (len(chunks) - 1)
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * (len(chunks) - 1) + ["length"]
    assert text_of(chunks) == whole.choices[0].message.content
    assert all(chunk.usage is None for chunk in chunks), "nobody asked for usage"
    with client.chat.completions.stream(**asked) as stream:
        final = stream.until_done().get_final_completion()
    assert final.choices[0].message.content == whole.choices[0].message.content


def test_usage_comes_where_it_is_asked_for(client: openai.OpenAI, front: Front) -> None:
    asked: Any = GREEDY | {"messages": HELLO, "max_tokens": 6, "stream": True}
    chunks = list(client.chat.completions.create(**asked, stream_options={"include_usage": True}))
    assert chunks[-1].choices == []
    assert [chunk.usage is None for chunk in chunks] == [True] * (len(chunks) - 1) + [False]
    usage = chunks[-1].usage
    assert usage is not None
    assert (usage.completion_tokens, usage.total_tokens - usage.prompt_tokens) == (6, 6)
    both = {"include_usage": True, "continuous_usage_stats": True}
    chunks = list(client.chat.completions.create(**asked, extra_body={"stream_options": both}))
    with front.expecting("continuous-usage"):
        counts = [chunk.usage and chunk.usage.completion_tokens for chunk in chunks]
        assert None not in counts, f"counts are {counts}"
        assert counts == sorted(counts)
        assert (counts[0], counts[-1]) == (0, 6)


def test_stops(client: openai.OpenAI) -> None:
    counting: Any = GREEDY | {"messages": [{"role": "user", "content": "Count: 1, 2, 3, 4, 5, 6"}], "max_tokens": 12}
    whole = client.chat.completions.create(**counting).choices[0].message.content
    assert whole
    stop = whole[4:7]
    stopped = client.chat.completions.create(**counting, stop=[stop, "never"]).choices[0]
    assert (stopped.finish_reason, stopped.message.content) == ("stop", whole[: whole.index(stop)])
    chunks = list(client.chat.completions.create(**counting, stop=stop, stream=True))
    assert text_of(chunks) == whole[: whole.index(stop)]
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_a_seed_makes_sampling_repeatable(client: openai.OpenAI) -> None:
    asked: Any = {"model": MODEL, "messages": HELLO, "max_tokens": 8, "temperature": 1.2}
    first, again = (client.chat.completions.create(**asked, seed=11).choices[0].message.content for _ in range(2))
    others = {client.chat.completions.create(**asked, seed=seed).choices[0].message.content for seed in (12, 13, 14)}
    assert first == again
    assert others != {first}


def test_several_answers(client: openai.OpenAI, front: Front) -> None:
    asked: Any = {"model": MODEL, "messages": HELLO, "max_tokens": 5, "temperature": 1.2, "seed": 5}
    whole = client.chat.completions.create(**asked, n=3)
    assert [choice.index for choice in whole.choices] == [0, 1, 2]
    assert whole.usage is not None
    assert whole.usage.completion_tokens <= 15
    assert len({choice.message.content for choice in whole.choices}) > 1
    texts = ["", "", ""]
    finishes = [0, 0, 0]
    for chunk in client.chat.completions.create(**asked, n=3, stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            finishes[choice.index] += choice.finish_reason is not None
    assert texts == [choice.message.content for choice in whole.choices]
    assert finishes == [1, 1, 1]


def test_logprobs(client: openai.OpenAI, direct: openai.OpenAI, front: Front) -> None:
    asked: Any = GREEDY | {"messages": HELLO, "max_tokens": 4, "logprobs": True, "top_logprobs": 2}
    yardstick = direct.chat.completions.create(**asked).choices[0].logprobs
    assert yardstick is not None
    assert yardstick.content is not None
    with front.expecting("logprobs"):
        given = client.chat.completions.create(**asked).choices[0].logprobs
        assert given is not None, "there are no logprobs"
        assert given.content is not None
        assert [entry.token for entry in given.content] == [entry.token for entry in yardstick.content]
        for entry, other in zip(given.content, yardstick.content, strict=True):
            assert entry.logprob == pytest.approx(other.logprob, abs=1e-2)
            assert len(entry.top_logprobs) == 2
            assert entry.top_logprobs[0].token == entry.token, "greedy takes the likeliest"
    streamed = [
        entry
        for chunk in client.chat.completions.create(**asked, stream=True)
        for choice in chunk.choices
        if choice.logprobs
        for entry in choice.logprobs.content or ()
    ]
    assert [entry.token for entry in streamed] == [entry.token for entry in yardstick.content]


def test_the_asynchronous_client_runs_several_at_once(front: Front, direct: openai.OpenAI) -> None:
    prompts = ["Say hello.", "Name a colour.", "What is 2 + 2?", "Say goodbye."]

    def asked(prompt: str) -> Any:
        return GREEDY | {"messages": [{"role": "user", "content": prompt}], "max_tokens": 6}

    async def stream(client: openai.AsyncOpenAI, prompt: str) -> str:
        answer = await client.chat.completions.create(**asked(prompt), stream=True)
        return text_of([chunk async for chunk in answer])

    async def all_of_them() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{front.url}/v1", api_key="none", max_retries=0, timeout=60) as client:
            return await asyncio.gather(*(stream(client, prompt) for prompt in prompts))

    alone = [direct.chat.completions.create(**asked(prompt)).choices[0].message.content for prompt in prompts]
    assert asyncio.run(all_of_them()) == alone
