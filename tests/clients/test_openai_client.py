"""The openai client behind each router: answers, streams, usage, limits, stops, seeds, n, logprobs, refusals."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest
from client_fleet import MODEL, Fleet, Front
from openai.types import Completion, CompletionUsage
from openai.types.chat import ChatCompletion, ChatCompletionChunk

pytestmark = pytest.mark.timeout(240)

HELLO: Any = [{"role": "user", "content": "Say hello in French."}]
PARTS: Any = [{"role": "user", "content": [{"type": "text", "text": t} for t in ("Say hello ", "in French.")]}]
GREEDY: Any = {"model": MODEL, "temperature": 0}
COUNTING = "1, 2, 3, 4,"


def text_of(chunks: list[ChatCompletionChunk]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def counted(usage: CompletionUsage) -> tuple[int, int]:
    """Tokens of prompt and answer; how many of the prompt's were cached depends on who asked before."""
    return usage.prompt_tokens, usage.completion_tokens


def test_a_chat_is_that_of_the_engine_without_a_router(client: openai.OpenAI, direct: openai.OpenAI) -> None:
    asked: Any = GREEDY | {"messages": HELLO, "max_tokens": 6}
    ours, theirs = client.chat.completions.create(**asked), direct.chat.completions.create(**asked)
    assert isinstance(ours, ChatCompletion)
    assert (ours.object, ours.model, ours.id[:9]) == ("chat.completion", MODEL, "chatcmpl-")
    (choice,) = ours.choices
    assert (choice.index, choice.message.role, choice.finish_reason) == (0, "assistant", "length")
    assert choice.message.content == theirs.choices[0].message.content
    assert ours.usage is not None
    assert theirs.usage is not None
    assert ours.usage.prompt_tokens == theirs.usage.prompt_tokens
    assert (ours.usage.completion_tokens, ours.usage.total_tokens) == (6, ours.usage.prompt_tokens + 6)
    parts = client.chat.completions.create(**GREEDY, messages=PARTS, max_completion_tokens=6)
    assert parts.choices[0].message.content == choice.message.content


def test_a_streamed_chat_has_a_role_the_text_and_one_finish(client: openai.OpenAI, front: Front) -> None:
    asked: Any = GREEDY | {"messages": HELLO, "max_completion_tokens": 6}
    whole = client.chat.completions.create(**asked)
    chunks = list(client.chat.completions.create(**asked, stream=True))
    assert all(isinstance(chunk, ChatCompletionChunk) and len(chunk.choices) == 1 for chunk in chunks)
    assert {(chunk.object, chunk.model) for chunk in chunks} == {("chat.completion.chunk", MODEL)}
    assert len({chunk.id for chunk in chunks}) == 1
    assert [chunk.choices[0].delta.role for chunk in chunks] == ["assistant"] + [None] * (len(chunks) - 1)
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * (len(chunks) - 1) + ["length"]
    assert text_of(chunks) == whole.choices[0].message.content
    assert all(chunk.usage is None for chunk in chunks), "nobody asked for usage"
    both = {"include_usage": True, "continuous_usage_stats": True}
    chunks = list(client.chat.completions.create(**asked, stream=True, extra_body={"stream_options": both}))
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert whole.usage is not None
    assert counted(chunks[-1].usage) == counted(whole.usage) == (whole.usage.prompt_tokens, 6)
    with front.expecting("continuous usage"):
        counts = [chunk.usage.completion_tokens if chunk.usage else -1 for chunk in chunks]
        assert -1 not in counts, f"counts of tokens are {counts}"
        assert counts == sorted(counts)
        assert (counts[0], counts[-1]) == (0, 6)


def test_a_chat_stops_and_its_stream_helper_works(client: openai.OpenAI) -> None:
    counting: Any = GREEDY | {"messages": [{"role": "user", "content": "Count: 1, 2, 3, 4, 5, 6"}], "max_tokens": 8}
    whole = client.chat.completions.create(**counting).choices[0].message.content
    assert whole
    stop = whole[4:7]
    stopped = client.chat.completions.create(**counting, stop=[stop, "never"]).choices[0]
    assert (stopped.finish_reason, stopped.message.content) == ("stop", whole[: whole.index(stop)])
    with client.chat.completions.stream(**counting, stop=stop) as stream:
        deltas = [event.delta for event in stream if event.type == "content.delta"]
        final = stream.get_final_completion().choices[0]
    assert (final.finish_reason, final.message.content) == ("stop", whole[: whole.index(stop)])
    assert "".join(deltas) == final.message.content


def test_completions(client: openai.OpenAI, direct: openai.OpenAI) -> None:
    asked: Any = GREEDY | {"prompt": COUNTING, "max_tokens": 6}
    whole, yardstick = client.completions.create(**asked), direct.completions.create(**asked)
    assert isinstance(whole, Completion)
    assert (whole.object, whole.model, whole.id[:5]) == ("text_completion", MODEL, "cmpl-")
    assert (whole.choices[0].index, whole.choices[0].finish_reason) == (0, "length")
    assert (whole.choices[0].text, whole.usage) == (yardstick.choices[0].text, yardstick.usage)
    chunks = list(client.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].text for chunk in chunks[:-1]) == whole.choices[0].text
    assert chunks[-2].choices[0].finish_reason == "length"
    assert (chunks[-1].choices, chunks[-1].usage) == ([], whole.usage)
    plain = list(client.completions.create(**asked, stream=True))
    assert all(chunk.choices for chunk in plain), "clients index the first choice of every chunk"


def test_stop_strings_and_stop_ids_of_completions(client: openai.OpenAI) -> None:
    asked: Any = GREEDY | {"prompt": COUNTING, "max_tokens": 8}
    stopped = client.completions.create(**asked, stop=[" 6"]).choices[0]
    assert (stopped.finish_reason, stopped.text.rstrip()) == ("stop", " 5,")
    comma = client.completions.create(**asked, extra_body={"stop_token_ids": [28]}).choices[0]  # 28 is ","
    assert (comma.finish_reason, comma.text.strip()) == ("stop", "5")
    least = client.completions.create(**asked, extra_body={"stop_token_ids": [28], "min_tokens": 5})
    assert least.usage is not None
    assert least.usage.completion_tokens > 4


def test_prompts_of_token_ids_and_several_prompts(client: openai.OpenAI, front: Front) -> None:
    one, ids = client.completions.create(**GREEDY, prompt=COUNTING, max_tokens=3).choices[0].text, [33, 28, 216, 34, 28]
    several = client.completions.create(**GREEDY, prompt=[COUNTING, "A, B, C,"], max_tokens=3)
    assert [choice.index for choice in several.choices] == [0, 1]
    assert several.choices[0].text == one
    texts = ["", ""]
    for chunk in client.completions.create(**GREEDY, prompt=[COUNTING, "A, B, C,"], max_tokens=3, stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.text
    assert texts == [choice.text for choice in several.choices]
    with front.expecting("prompts of token ids"):
        usage = client.completions.create(**GREEDY, prompt=ids, max_tokens=1).usage
        assert usage is not None
        assert usage.prompt_tokens == 5


def test_a_seed_makes_sampling_repeatable(client: openai.OpenAI) -> None:
    asked: Any = {"model": MODEL, "messages": HELLO, "max_tokens": 5, "temperature": 1.5}
    texts = [client.chat.completions.create(**asked, seed=s).choices[0].message.content for s in (11, 11, 12)]
    assert texts[0] == texts[1]
    assert len(set(texts)) > 1


def test_several_answers(client: openai.OpenAI) -> None:
    asked: Any = {"model": MODEL, "messages": HELLO, "max_tokens": 4, "temperature": 1.2, "seed": 5, "n": 3}
    whole = client.chat.completions.create(**asked)
    assert [choice.index for choice in whole.choices] == [0, 1, 2]
    assert whole.usage is not None
    assert whole.usage.completion_tokens <= 12
    assert len({choice.message.content for choice in whole.choices}) > 1
    texts, finishes = ["", "", ""], [0, 0, 0]
    for chunk in client.chat.completions.create(**asked, stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            finishes[choice.index] += choice.finish_reason is not None
    assert texts == [choice.message.content for choice in whole.choices]
    assert finishes == [1, 1, 1]
    two = client.completions.create(model=MODEL, prompt=COUNTING, n=2, max_tokens=3, temperature=1.2, seed=5)
    assert [choice.index for choice in two.choices] == [0, 1]


def test_logprobs_of_a_chat(client: openai.OpenAI, direct: openai.OpenAI) -> None:
    asked: Any = GREEDY | {"messages": HELLO, "max_tokens": 4, "logprobs": True, "top_logprobs": 2}
    logprobs = [c.chat.completions.create(**asked).choices[0].logprobs for c in (direct, client)]
    yardstick, given = (found.content or [] if found else [] for found in logprobs)
    assert len(yardstick) == 4
    assert [entry.token for entry in given] == [entry.token for entry in yardstick]
    for entry, other in zip(given, yardstick, strict=True):
        assert entry.logprob == pytest.approx(other.logprob, abs=1e-2)
        assert entry.bytes == list(entry.token.encode())
        assert entry.top_logprobs[0].token == entry.token, "greedy takes the likeliest"
        assert len(entry.top_logprobs) == 2
    streamed = [
        entry
        for chunk in client.chat.completions.create(**asked, stream=True)
        for choice in chunk.choices
        if choice.logprobs
        for entry in choice.logprobs.content or ()
    ]
    assert [entry.token for entry in streamed] == [entry.token for entry in yardstick]


def test_logprobs_of_a_completion(client: openai.OpenAI, direct: openai.OpenAI) -> None:
    asked: Any = GREEDY | {"prompt": COUNTING, "max_tokens": 4, "logprobs": 2}
    yardstick, given = (c.completions.create(**asked).choices[0].logprobs for c in (direct, client))
    assert yardstick is not None
    assert given is not None
    assert (given.tokens, given.text_offset) == (yardstick.tokens, yardstick.text_offset)
    assert given.token_logprobs == pytest.approx(yardstick.token_logprobs, abs=1e-2)
    assert given.top_logprobs is not None
    assert all(len(top) == 2 for top in given.top_logprobs)


def test_the_asynchronous_client_runs_several_at_once(front: Front, direct: openai.OpenAI) -> None:
    prompts = ["Say hello.", "Name a colour.", "What is 2 + 2?"]

    def asked(prompt: str) -> Any:
        return GREEDY | {"messages": [{"role": "user", "content": prompt}], "max_tokens": 4}

    async def stream(client: openai.AsyncOpenAI, prompt: str) -> str:
        answer = await client.chat.completions.create(**asked(prompt), stream=True)
        return text_of([chunk async for chunk in answer])

    async def all_of_them() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{front.url}/v1", api_key="none", max_retries=0, timeout=60) as client:
            return await asyncio.gather(*(stream(client, prompt) for prompt in prompts))

    alone = [direct.chat.completions.create(**asked(prompt)).choices[0].message.content for prompt in prompts]
    assert asyncio.run(all_of_them()) == alone


# What the workers refuse, with the word that the error names; a router hands it on.
REFUSED: dict[str, dict[str, Any]] = {
    "tokens = 100000": {"max_tokens": 100_000},
    "5031 tokens": {"messages": [{"role": "user", "content": "a " * 5000}]},
    "image_url": {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}]},
    "response_format": {"response_format": {"type": "json_object"}},
}
# What some routers refuse themselves.
MALFORMED: dict[str, dict[str, Any]] = {"temperature": {"temperature": -1}, "messages": {"messages": []}}


def refusal_of(client: openai.OpenAI, **fields: Any) -> openai.APIStatusError:
    asked: Any = GREEDY | {"messages": HELLO, "max_tokens": 2} | fields
    try:
        client.chat.completions.create(**asked)
    except openai.APIStatusError as error:
        return error
    raise AssertionError("it was served")


def test_what_the_engine_does_not_serve_is_refused_by_name(client: openai.OpenAI, front: Front) -> None:
    for word, fields in REFUSED.items():
        error = refusal_of(client, **fields)
        assert isinstance(error, openai.BadRequestError)
        assert word in str(error)
        with front.expecting("type of a refusal"):
            assert error.type == "invalid_request_error", f"type is {error.type}"
        with front.expecting("param of a refusal"):
            assert error.param is not None, "param is None"
        streamed = refusal_of(client, **fields, stream=True)
        assert isinstance(streamed, openai.BadRequestError)
        with front.expecting("message of a streamed refusal"):
            assert word in str(streamed)
    for word, fields in MALFORMED.items():
        error = refusal_of(client, **fields)
        assert isinstance(error, openai.BadRequestError)
        assert word in str(error)


def test_unknown_fields_and_other_models_are_refused(client: openai.OpenAI, front: Front) -> None:
    with front.expecting("unknown field"):
        assert "nonsense" in str(refusal_of(client, extra_body={"nonsense": 1}))
    with pytest.raises(openai.BadRequestError, match="nonsense"):
        client.completions.create(model=MODEL, prompt=COUNTING, extra_body={"nonsense": 1})
    with front.expecting("other model"):
        error = refusal_of(client, model="nope")
        assert isinstance(error, openai.NotFoundError), type(error).__name__
        assert "nope" in str(error)


def test_models(client: openai.OpenAI, front: Front) -> None:
    (card,) = client.models.list().data
    assert (card.id, card.object) == (MODEL, "model")
    with front.expecting("model by name"):
        assert client.models.retrieve(MODEL).id == MODEL


def test_a_client_that_leaves_or_gives_up_frees_the_pages(client: openai.OpenAI, clients_fleet: Fleet) -> None:
    long: Any = GREEDY | {"messages": HELLO, "max_tokens": 2000, "extra_body": {"ignore_eos": True}}
    stream = client.chat.completions.create(**long, stream=True)
    assert next(iter(stream)).choices
    stream.close()
    clients_fleet.cluster.wait_idle()
    with pytest.raises(openai.APITimeoutError):
        client.chat.completions.create(**long, timeout=0.5)
    clients_fleet.cluster.wait_idle()
