"""Each bad field is refused by name, with its value and the remedy, and nothing is ignored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pdpanel.engine.config import Mode
from pdpanel.engine.http import fields

if TYPE_CHECKING:
    from .conftest import Ask, FakeEngine, MakeEngine

USER = [{"role": "user", "content": "Hi"}]
GOOD: dict[str, dict[str, Any]] = {
    "/generate": {"text": "Hi"},
    "/v1/completions": {"prompt": "Hi"},
    "/v1/chat/completions": {"messages": USER},
}
TABLES = {"/generate": fields.GENERATE, "/v1/completions": fields.COMPLETIONS, "/v1/chat/completions": fields.CHAT}
CONTEXT = 64
VOCABULARY = 258


def refused(
    ask: Ask, engine: FakeEngine, path: str, body: dict[str, Any], param: str, *says: str, status: int = 400
) -> str:
    reply = ask(engine, path, body)
    assert reply.status == status, reply.body
    error = reply.error
    assert error["param"] == param
    message = error["message"]
    assert message.startswith(f"{param} = ")
    assert message.endswith(".")
    assert "\n" not in message
    for text in says:
        assert text in message
    assert not engine.requests
    return message


# Fields of sampling, under the name that each route gives them; None: the route has no such field.
SAMPLING = [
    ("max_new_tokens", "max_tokens", 0, "send a whole number from 1 to 63"),
    ("max_new_tokens", "max_tokens", -1, "from 1 to 63"),
    ("max_new_tokens", "max_tokens", 64, "from 1 to 63"),
    ("max_new_tokens", "max_tokens", 10**30, "from 1 to 63"),
    ("max_new_tokens", "max_tokens", "5", "not a whole number"),
    ("max_new_tokens", "max_tokens", 2.5, "not a whole number"),
    ("max_new_tokens", "max_tokens", True, "not a whole number"),
    ("max_new_tokens", "max_tokens", [5], "not a whole number"),
    ("min_new_tokens", "min_tokens", -1, "from 0"),
    ("temperature", "temperature", -0.1, "send a number from 0"),
    ("temperature", "temperature", 1e9, "to 100"),
    ("temperature", "temperature", "hot", "not a number"),
    ("temperature", "temperature", True, "not a number"),
    ("temperature", "temperature", 10**400, "not a number"),
    ("top_p", "top_p", 0, "above 0 to 1"),
    ("top_p", "top_p", 1.1, "above 0 to 1"),
    ("top_k", "top_k", -2, "out of range"),
    ("top_k", "top_k", 1.5, "not a whole number"),
    ("min_p", "min_p", 2, "from 0 to 1"),
    ("seed", "seed", "x", "not a whole number"),
    ("seed", "seed", 2**63, "out of range"),
    ("sampling_seed", "sampling_seed", False, "not a whole number"),
    ("stop", "stop", 5, "not a string or a list"),
    ("stop", "stop", ["a", 5], "not a string or a list"),
    ("stop", "stop", "", "empty"),
    ("stop", "stop", ["a", ""], "empty"),
    ("stop", "stop", ["x" * 2000], "too long"),
    ("stop", "stop", ["x"] * 65, "too many"),
    ("stop_token_ids", "stop_token_ids", 5, "not a list of token ids"),
    ("ignore_eos", "ignore_eos", 1, "not true or false"),
    ("skip_special_tokens", "skip_special_tokens", "no", "not true or false"),
    ("no_stop_trim", "no_stop_trim", 0, "not true or false"),
    ("n", "n", 0, "send a whole number from 1 to 128"),
    ("n", "n", 129, "from 1 to 128"),
    ("n", "n", True, "not a whole number"),
    ("frequency_penalty", "frequency_penalty", 0.5, "does not implement it; leave it out or set it to 0"),
    ("presence_penalty", "presence_penalty", -1, "does not implement"),
    ("repetition_penalty", "repetition_penalty", 1.1, "set it to 1"),
    ("json_schema", "json_schema", "{}", "does not implement it; leave it out."),
    ("regex", "regex", "a+", "does not implement"),
    ("logit_bias", "logit_bias", {"5": 1}, "does not implement"),
    ("spaces_between_special_tokens", "spaces_between_special_tokens", False, "set it to True"),
]


@pytest.mark.parametrize(("sglang", "openai", "value", "says"), SAMPLING)
def test_sampling_fields(engine: FakeEngine, ask: Ask, sglang: str, openai: str, value: object, says: str) -> None:
    body = {"text": "Hi", "sampling_params": {sglang: value}}
    refused(ask, engine, "/generate", body, f"sampling_params.{sglang}", says)
    for path in ("/v1/completions", "/v1/chat/completions"):
        refused(ask, engine, path, {**GOOD[path], openai: value}, openai, says)


@pytest.mark.parametrize("place", [0, 2])
@pytest.mark.parametrize("value", [-1, VOCABULARY, "a", 1.0, True, None, [1]])
def test_token_ids_are_those_of_the_vocabulary(engine: FakeEngine, ask: Ask, place: int, value: object) -> None:
    ids: list[object] = [1, 2, 3]
    ids[place] = value
    remedy = f"send a list of whole numbers from 0 to {VOCABULARY - 1}"
    params = {"stop_token_ids": ids}
    at = f"sampling_params.stop_token_ids[{place}]"
    refused(ask, engine, "/generate", {"text": "Hi", "sampling_params": params}, at, remedy)
    if not isinstance(value, list):
        refused(ask, engine, "/generate", {"input_ids": ids}, f"input_ids[{place}]", remedy)
        refused(ask, engine, "/generate", {"input_ids": [[1], ids]}, f"input_ids[1][{place}]", remedy)
        refused(ask, engine, "/v1/completions", {"prompt": [[1], ids]}, f"prompt[1][{place}]", remedy)
    if not isinstance(value, str | list):
        refused(ask, engine, "/v1/completions", {"prompt": ids}, f"prompt[{place}]", remedy)


@pytest.mark.parametrize(
    ("path", "body", "param", "says"),
    [
        ("/generate", {}, "text", "send text (a string) or input_ids"),
        ("/generate", {"text": None}, "text", "no prompt"),
        ("/generate", {"text": "a", "input_ids": [1]}, "input_ids", "text is given too"),
        ("/generate", {"text": ""}, "text", "empty"),
        ("/generate", {"text": 5}, "text", "not a string"),
        ("/generate", {"text": []}, "text", "the list of prompts is empty"),
        ("/generate", {"text": ["a", ""]}, "text[1]", "the prompt is empty"),
        ("/generate", {"text": ["a", 5]}, "text[1]", "not a string"),
        ("/generate", {"text": ["a"] * 5000}, "text", "5000 prompts are too many"),
        ("/generate", {"input_ids": []}, "input_ids", "empty"),
        ("/generate", {"input_ids": [[1], []]}, "input_ids[1]", "the prompt is empty"),
        ("/generate", {"input_ids": [[1], 2]}, "input_ids[1]", "not a list of token ids"),
        ("/generate", {"input_ids": "1"}, "input_ids", "not a list of token ids"),
        ("/generate", {"text": "a", "sampling_params": []}, "sampling_params", "a list of 0 for 1 prompts"),
        ("/generate", {"text": "a", "sampling_params": "x"}, "sampling_params", "not a JSON object"),
        ("/generate", {"text": "a", "sampling_params": [5]}, "sampling_params[0]", "not a JSON object"),
        ("/generate", {"text": ["a"], "sampling_params": [{"top_p": 2}]}, "sampling_params[0].top_p", "to 1"),
        (
            "/generate",
            {"text": ["a", "b"], "sampling_params": [{"n": 2}, {}]},
            "sampling_params[1].n",
            "set it to 2, as for the first prompt",
        ),
        ("/generate", {"text": "a", "stream": "yes"}, "stream", "not true or false"),
        ("/generate", {"text": "a", "rid": 7}, "rid", "not a string"),
        ("/generate", {"text": "a", "rid": ["a"]}, "rid", "not a string"),
        ("/generate", {"text": "a", "rid": "x" * 300}, "rid", "at most 256"),
        ("/generate", {"text": ["a", "b"], "rid": ["x"]}, "rid", "a list of 1 for 2 answers"),
        ("/generate", {"text": ["a", "b"], "rid": ["x", 5]}, "rid", "not a string"),
        ("/generate", {"text": ["a", "b"], "replayed_ids": [1]}, "replayed_ids", "several answers"),
        ("/generate", {"text": "a", "return_logprob": 1}, "return_logprob", "not true or false"),
        ("/generate", {"text": "a", "top_logprobs_num": 2}, "top_logprobs_num", "set return_logprob to true"),
        ("/generate", {"text": "a", "token_ids_logprob": [2]}, "token_ids_logprob", "set return_logprob to true"),
        ("/generate", {"text": "a", "return_logprob": True, "top_logprobs_num": 21}, "top_logprobs_num", "0 to 20"),
        ("/generate", {"text": "a", "return_logprob": True, "token_ids_logprob": [1] * 65}, "token_ids_logprob", "64"),
        ("/generate", {"text": "a", "return_logprob": True, "logprob_start_len": 2}, "logprob_start_len", "at most 1"),
        ("/generate", {"text": "a", "return_logprob": True, "logprob_start_len": -2}, "logprob_start_len", "from -1"),
        ("/generate", {"text": "a", "return_logprob": True, "replayed_ids": [1]}, "return_logprob", "replayed"),
        ("/generate", {"text": "a", "return_hidden_states": True}, "return_hidden_states", "set it to False."),
        ("/generate", {"text": "a", "image_data": ["x"]}, "image_data", "does not implement"),
        ("/generate", {"text": "a", "lora_path": "x"}, "lora_path", "does not implement it; leave it out."),
        ("/generate", {"text": "a", "max_new_tokens": 4}, "max_new_tokens", "no such field; leave it out."),
        ("/generate", {"text": "a", "sampling_param": {}}, "sampling_param", "if you mean sampling_params"),
        ("/v1/completions", {}, "prompt", "no prompt"),
        ("/v1/completions", {"prompt": ""}, "prompt", "empty"),
        ("/v1/completions", {"prompt": []}, "prompt", "empty"),
        ("/v1/completions", {"prompt": [""]}, "prompt[0]", "empty"),
        ("/v1/completions", {"prompt": [[]]}, "prompt[0]", "empty"),
        ("/v1/completions", {"prompt": {"a": 1}}, "prompt", "send a string or a list of token ids"),
        ("/v1/completions", {"prompt": ["a", 5]}, "prompt[1]", "not a list of token ids"),
        ("/v1/completions", {"prompt": "a", "max_token": 5}, "max_token", "if you mean max_tokens"),
        ("/v1/completions", {"prompt": "a", "echo": 1}, "echo", "not true or false"),
        ("/v1/completions", {"prompt": "a", "logprobs": True}, "logprobs", "not a whole number"),
        ("/v1/completions", {"prompt": "a", "logprobs": 21}, "logprobs", "from 0 to 20"),
        ("/v1/completions", {"prompt": "a", "logprobs": 1, "echo": True}, "logprobs", "together with echo"),
        ("/v1/completions", {"prompt": "a", "suffix": "b"}, "suffix", "does not implement"),
        ("/v1/completions", {"prompt": "a", "stream_options": {}}, "stream_options", "stream is not true"),
        ("/v1/chat/completions", {}, "messages", "no messages"),
        ("/v1/chat/completions", {"messages": []}, "messages", "no messages"),
        ("/v1/chat/completions", {"messages": "Hi"}, "messages", "not a list of messages"),
        ("/v1/chat/completions", {"messages": ["Hi"]}, "messages[0]", "not a message"),
        ("/v1/chat/completions", {"messages": [{"content": "Hi"}]}, "messages[0].role", "use one of system"),
        ("/v1/chat/completions", {"messages": [{"role": "user"}]}, "messages[0].content", "no text"),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "not text"),
        ("/v1/chat/completions", {"messages": USER, "logprobs": 1}, "logprobs", "not true or false"),
        ("/v1/chat/completions", {"messages": USER, "top_logprobs": 1}, "top_logprobs", "set logprobs to true"),
        ("/v1/chat/completions", {"messages": USER, "tools": [{}]}, "tools", "does not implement"),
        ("/v1/chat/completions", {"messages": USER, "tool_choice": "required"}, "tool_choice", "set it to none"),
        (
            "/v1/chat/completions",
            {"messages": USER, "response_format": {"type": "json_object"}},
            "response_format",
            "set it to {'type': 'text'}",
        ),
        (
            "/v1/chat/completions",
            {"messages": USER, "max_tokens": 4, "max_completion_tokens": 5},
            "max_tokens",
            "contradicts max_completion_tokens",
        ),
        (
            "/v1/chat/completions",
            {"messages": USER, "stream": True, "stream_options": {"include_usage": 1}},
            "stream_options.include_usage",
            "not true or false",
        ),
        (
            "/v1/chat/completions",
            {"messages": USER, "stream": True, "stream_options": {"usage": True}},
            "stream_options.usage",
            "no such field",
        ),
        (
            "/v1/chat/completions",
            {"messages": USER, "chat_template_kwargs": "x"},
            "chat_template_kwargs",
            "not a JSON object",
        ),
    ],
)
def test_fields_of_routes(engine: FakeEngine, ask: Ask, path: str, body: dict[str, Any], param: str, says: str) -> None:
    refused(ask, engine, path, body, param, says)


@pytest.mark.parametrize(
    ("part", "at"),
    [
        ("text", ""),
        ({"text": "Hi"}, ""),
        ({"type": "image_url", "image_url": {"url": "http://x"}}, ".type"),
        ({"type": "text"}, ".text"),
        ({"type": "text", "text": 5}, ".text"),
    ],
)
def test_content_parts_are_text(engine: FakeEngine, ask: Ask, part: object, at: str) -> None:
    messages = [USER[0], {"role": "user", "content": [{"type": "text", "text": "Hi"}, part]}]
    refused(ask, engine, "/v1/chat/completions", {"messages": messages}, f"messages[1].content[1]{at}")


@pytest.mark.parametrize("path", GOOD)
def test_known_fields_pass_with_every_neutral_value_and_null(engine: FakeEngine, ask: Ask, path: str) -> None:
    neutral = TABLES[path].neutral
    longest = max(len(values) for values in neutral.values())
    for turn in range(longest):
        body = {name: values[turn % len(values)] for name, values in neutral.items()}
        assert ask(engine, path, {**GOOD[path], **body}).status == 200
    assert ask(engine, path, {**GOOD[path], **dict.fromkeys(neutral)}).status == 200
    optional = TABLES[path].implemented - set(GOOD[path])
    assert ask(engine, path, {**GOOD[path], **dict.fromkeys(optional)}).status == 200


@pytest.mark.parametrize("path", GOOD)
def test_no_field_is_both_read_and_neutral(path: str) -> None:
    assert not TABLES[path].implemented & set(TABLES[path].neutral)


@pytest.mark.parametrize("path", GOOD)
def test_prompt_and_output_fit_the_context_together(engine: FakeEngine, ask: Ask, path: str) -> None:
    """The largest number that fits is named, and it does fit."""
    name = "max_new_tokens" if path == "/generate" else "max_tokens"

    def body(limit: int) -> dict[str, Any]:
        params = {name: limit}
        return {**GOOD[path], **({"sampling_params": params} if path == "/generate" else params)}

    param = f"sampling_params.{name}" if path == "/generate" else name
    message = refused(ask, engine, path, body(CONTEXT - 1), param, f"the context of {CONTEXT} tokens")
    most = int(message.rsplit(" ", 1)[1].rstrip("."))
    refused(ask, engine, path, body(most + 1), param)
    assert ask(engine, path, body(most)).status == 200
    assert len(engine.last.prompt_ids) + most == CONTEXT


def test_a_least_number_of_tokens_fits_too(engine: FakeEngine, ask: Ask) -> None:
    params = {"min_new_tokens": 5, "max_new_tokens": 4}
    body = {"text": "Hi", "sampling_params": params}
    at = "sampling_params.min_new_tokens"
    refused(ask, engine, "/generate", body, at, "more than sampling_params.max_new_tokens = 4")
    messages = {"messages": USER, "min_tokens": CONTEXT - 1}
    refused(ask, engine, "/v1/chat/completions", messages, "min_tokens", "it exceeds the context")


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/generate", {"text": "x" * CONTEXT}, "text"),
        ("/generate", {"input_ids": [1] * CONTEXT}, "input_ids"),
        ("/v1/completions", {"prompt": "x" * CONTEXT}, "prompt"),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x" * CONTEXT}]}, "messages"),
    ],
)
def test_a_prompt_that_is_too_long_says_by_how_much(
    engine: FakeEngine, ask: Ask, path: str, body: dict[str, Any], param: str
) -> None:
    tokens = " tokens': the prompt is too long for the context of 64 tokens"
    message = refused(ask, engine, path, body, param, tokens, "send at most 63 tokens")
    assert int(message.split("'")[1].split()[0]) >= CONTEXT


def test_a_prompt_beyond_all_bounds_is_not_even_encoded(engine: FakeEngine, ask: Ask) -> None:
    refused(ask, engine, "/generate", {"text": "x" * 100_000}, "text", "'100000 characters': too long")
    huge = {"messages": [{"role": "user", "content": "x" * 100_000}]}
    refused(ask, engine, "/v1/chat/completions", huge, "messages", "characters': too long")


@pytest.mark.parametrize("path", GOOD)
def test_another_model_is_not_found(engine: FakeEngine, ask: Ask, path: str) -> None:
    refused(ask, engine, path, {**GOOD[path], "model": "gpt-9"}, "model", "set it to 'tiny'", status=404)
    for name in ("tiny", "default", "unknown", "/models/tiny", "", None):
        assert ask(engine, path, {**GOOD[path], "model": name}).status == 200


@pytest.mark.parametrize(
    ("changes", "param", "says"),
    [
        ({"bootstrap_room": None}, "bootstrap_room", "worker needs it; send the request to the router."),
        ({"bootstrap_room": 0}, "bootstrap_room", "room 0 is reserved"),
        ({"bootstrap_room": -1}, "bootstrap_room", "out of range"),
        ({"bootstrap_room": 2**63}, "bootstrap_room", "out of range"),
        ({"bootstrap_room": "7"}, "bootstrap_room", "not a whole number"),
        ({"bootstrap_room": True}, "bootstrap_room", "not a whole number"),
        ({"bootstrap_room": [1, 2]}, "bootstrap_room", "a list of 2 for 1 prompt; send one value"),
        ({"bootstrap_room": []}, "bootstrap_room", "a list of 0 for 1 prompt"),
        ({"bootstrap_port": 0}, "bootstrap_port", "from 1 to 65535"),
        ({"bootstrap_port": 65536}, "bootstrap_port", "from 1 to 65535"),
        ({"bootstrap_host": 5}, "bootstrap_host", "not a string"),
        ({"bootstrap_host": "a b"}, "bootstrap_host", "no host name or address"),
        ({"bootstrap_host": "evil/path?"}, "bootstrap_host", "no host name or address"),
        ({"bootstrap_host": ["a", "b"]}, "bootstrap_host", "a list of 2"),
        ({"bootstrap_host": "2.2.2.2", "bootstrap_room": 0}, "bootstrap_host", "does not implement SGLang's fake"),
    ],
)
@pytest.mark.parametrize("mode", [Mode.PREFILL, Mode.DECODE])
@pytest.mark.parametrize("path", GOOD)
def test_the_meeting_place(
    make_engine: MakeEngine, ask: Ask, path: str, mode: Mode, changes: dict[str, Any], param: str, says: str
) -> None:
    place = {"bootstrap_host": "127.0.0.1", "bootstrap_port": 8998, "bootstrap_room": 7}
    refused(ask, make_engine(mode), path, {**GOOD[path], **place, **changes}, param, says)


def test_only_decode_needs_the_host(make_engine: MakeEngine, ask: Ask) -> None:
    body = {"text": "Hi", "bootstrap_room": 7}
    refused(ask, make_engine(Mode.DECODE), "/generate", body, "bootstrap_host", "a decode worker needs it")
    assert ask(make_engine(Mode.PREFILL), "/generate", body).status == 200


def test_a_unified_worker_meets_no_other(engine: FakeEngine, ask: Ask) -> None:
    refused(ask, engine, "/generate", {"text": "Hi", "bootstrap_room": 7}, "bootstrap_room", "unified")


def test_a_hostile_field_name_is_shown_short_and_on_one_line(engine: FakeEngine, ask: Ask) -> None:
    for name in ("\r\nX: y", "a" * 100_000, "", "\x1b[31m"):
        message = ask(engine, "/generate", {"text": "Hi", name: 1}).error["message"]
        assert "no such field" in message
        assert len(message) < 200
        assert message.isprintable()


def test_numbers_that_are_whole_pass_as_floats(engine: FakeEngine, ask: Ask) -> None:
    params = {"max_new_tokens": 3.0, "temperature": 0, "top_p": 1, "top_k": 0, "n": 1.0, "seed": -1}
    assert ask(engine, "/generate", {"text": "Hi", "sampling_params": params}).status == 200
    sampling = engine.last.sampling
    assert (sampling.max_new_tokens, sampling.top_k, sampling.seed, sampling.greedy) == (3, -1, -1, True)
    assert isinstance(sampling.max_new_tokens, int)


def test_all_sampling_fields_arrive(engine: FakeEngine, ask: Ask) -> None:
    shared: dict[str, Any] = {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 5,
        "min_p": 0.1,
        "seed": 11,
        "stop": ["a", "b"],
        "stop_token_ids": [4],
        "ignore_eos": True,
        "skip_special_tokens": False,
        "no_stop_trim": True,
    }
    params = {**shared, "max_new_tokens": 9, "min_new_tokens": 2}
    assert ask(engine, "/generate", {"text": "Hi", "sampling_params": params}).status == 200
    sampling = engine.last.sampling
    openai = {**shared, "max_tokens": 9, "min_tokens": 2}
    for path in ("/v1/completions", "/v1/chat/completions"):
        assert ask(engine, path, {**GOOD[path], **openai}).status == 200
        assert engine.last.sampling == sampling
    assert (sampling.stop, sampling.stop_token_ids, sampling.min_new_tokens) == (("a", "b"), (4,), 2)
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.min_p) == (0.5, 0.9, 5, 0.1)
    assert (sampling.seed, sampling.max_new_tokens, sampling.no_stop_trim) == (11, 9, True)
    assert (sampling.ignore_eos, sampling.skip_special_tokens) == (True, False)


def test_sglang_defaults(make_engine: MakeEngine, ask: Ask) -> None:
    engine = make_engine(context_length=1000)
    ask(engine, "/generate", {"text": "Hi"})
    assert engine.last.sampling.max_new_tokens == 128
    ask(engine, "/generate", {"text": "Hi", "sampling_params": {"max_new_tokens": None}})
    assert engine.last.sampling.max_new_tokens == 998
    ask(engine, "/generate", {"text": "Hi", "sampling_params": {"sampling_seed": 3}})
    assert engine.last.sampling.seed == 3
