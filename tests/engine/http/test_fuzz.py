"""Whatever JSON comes, there is an answer, and it is never a 500."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pdpanel.engine.config import Mode
from pdpanel.engine.errors import RequestError
from pdpanel.engine.http import fields
from pdpanel.engine.http.body import parse_object

if TYPE_CHECKING:
    from .conftest import FakeEngine, MakeEngine

PATHS = {
    "/generate": fields.GENERATE,
    "/v1/completions": fields.COMPLETIONS,
    "/v1/chat/completions": fields.CHAT,
    "/flush_cache": fields.FLUSH,
    "/abort_request": fields.ABORT,
}
NAMES = sorted({name for table in (*PATHS.values(), fields.SAMPLING) for name in (*table.implemented, *table.neutral)})
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-3, 70)
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12)
    | st.sampled_from(["user", "Hi", "text", "127.0.0.1", "none", "tiny"])
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from([*NAMES, "role", "content", "type"]) | st.text(max_size=5), inner, max_size=5)
    ),
    max_leaves=12,
)
MESSAGES = st.lists(st.fixed_dictionaries({"role": st.just("user"), "content": VALUES}), max_size=2)


PROMPTS: dict[str, dict[str, Any]] = {
    "/generate": {"text": "Hi"},
    "/v1/completions": {"prompt": "Hi"},
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "Hi"}]},
    "/flush_cache": {},
    "/abort_request": {"rid": "r"},
}
SOUND: dict[str, Any] = {
    "stream": True,
    "temperature": 0,
    "max_tokens": 3,
    "sampling_params": {"stop": "l"},
    "stop": ["ll"],
    "abort_all": True,
    "timeout": 0,
    "n": 2,
    "echo": True,
    "return_logprob": True,
    "logprob_start_len": 0,
    "logprobs": True,  # of a chat; a completion refuses it
}
PLACE: dict[str, Any] = {"bootstrap_room": 5, "bootstrap_host": "localhost"}
GENERATION = ("/generate", "/v1/completions", "/v1/chat/completions")


def bodies(path: str, mode: Mode) -> st.SearchStrategy[Any]:
    table = PATHS[path]
    likely = {
        "text": st.text(max_size=9),
        "prompt": st.text(max_size=9) | st.lists(st.integers(0, 300), max_size=9),
        "input_ids": st.lists(st.integers(0, 300), max_size=9),
        "messages": MESSAGES,
        "stream": st.booleans(),
        "bootstrap_room": st.integers(0, 9),
        "sampling_params": st.dictionaries(st.sampled_from(sorted(fields.SAMPLING.implemented)), LEAVES, max_size=3),
        "timeout": st.integers(-1, 0),
    }
    names = sorted(table.implemented)
    optional = {name: likely.get(name, LEAVES) for name in names}
    start = PROMPTS[path] | ({} if mode is Mode.UNIFIED or path not in GENERATION else PLACE)
    sound = st.sets(st.sampled_from(sorted(SOUND.keys() & table.implemented)), max_size=4).map(
        lambda chosen: {**start, **{name: SOUND[name] for name in chosen}}
    )
    return sound | st.fixed_dictionaries({}, optional=optional) | st.fixed_dictionaries({}, optional=likely) | VALUES


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("path", PATHS)
def test_every_body_gets_an_answer(make_engine: MakeEngine, serving: Any, mode: Mode, path: str) -> None:
    engine = make_engine(mode)
    loop = asyncio.new_event_loop()
    context = serving(engine)
    session, _ = loop.run_until_complete(context.__aenter__())
    seen: set[int] = set()

    @settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(body=bodies(path, mode))
    def check(body: Any) -> None:
        loop.run_until_complete(_check(engine, session, path, body, seen))

    try:
        check()
        assert 200 in seen
        assert 400 in seen
    finally:
        loop.run_until_complete(context.__aexit__(None, None, None))
        loop.close()


async def _check(engine: FakeEngine, session: aiohttp.ClientSession, path: str, body: Any, seen: set[int]) -> None:
    raw = json.dumps(body)
    headers = {"Content-Type": "application/json"}
    before = len(engine.requests)
    async with session.post(path, data=raw, headers=headers, timeout=aiohttp.ClientTimeout(10)) as response:
        answer = await response.read()
        seen.add(response.status)
        assert response.status in (200, 400, 404), (body, answer)
        if response.status != 200:
            error = json.loads(answer)["error"]
            assert error["message"].isprintable()
            assert error["param"]
            assert len(engine.requests) == before
        elif response.content_type == "text/event-stream":
            assert answer.endswith(b"data: [DONE]\n\n")


@given(st.binary(max_size=200) | st.text(alphabet='{}[]",:\\u0a1e.-+ntf d8', max_size=60).map(str.encode))
def test_every_byte_string_parses_or_is_refused(raw: bytes) -> None:
    try:
        assert isinstance(parse_object(raw), dict)
    except RequestError as error:
        assert str(error).isprintable()
