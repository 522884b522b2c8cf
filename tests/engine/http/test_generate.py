"""POST /generate as SGLang's clients and routers use it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from pdpanel.engine.config import Mode
from pdpanel.engine.errors import CapacityError, ConflictError
from pdpanel.engine.request import Bootstrap, Finish, FinishKind

if TYPE_CHECKING:
    from .conftest import Ask, FakeEngine, MakeEngine

PROMPT = {"text": "Say it"}
PAIR = {"bootstrap_host": "127.0.0.1", "bootstrap_port": 8998, "bootstrap_room": 7}


def test_a_whole_answer(engine: FakeEngine, ask: Ask) -> None:
    reply = ask(engine, "/generate", {**PROMPT, "rid": "r1"})
    assert reply.status == 200
    answer = reply.json
    meta = answer["meta_info"]
    assert answer["text"] == "Hello"
    assert answer["output_ids"][-1] == engine.model.eos_ids[0]
    assert meta.pop("e2e_latency") >= 0
    assert meta == {
        "id": "r1",
        "finish_reason": {"type": "stop", "matched": engine.model.eos_ids[0]},
        "prompt_tokens": 6,
        "completion_tokens": 6,
        "cached_tokens": 3,
        "weight_version": "default",
    }
    assert engine.ended == ["r1"]


def test_length_ends_an_answer(engine: FakeEngine, ask: Ask) -> None:
    answer = ask(engine, "/generate", {**PROMPT, "sampling_params": {"max_new_tokens": 2}}).json
    assert answer["text"] == "He"
    assert answer["meta_info"]["finish_reason"] == {"type": "length", "length": 2}


def test_a_stream_is_cumulative_and_counts_tokens(engine: FakeEngine, ask: Ask) -> None:
    events = ask(engine, "/generate", {**PROMPT, "stream": True}).data
    assert [event["text"] for event in events] == ["H", "He", "Hel", "Hell", "Hello", "Hello"]
    assert [event["meta_info"]["completion_tokens"] for event in events] == [1, 2, 3, 4, 5, 6]
    assert [len(event["output_ids"]) for event in events] == [1, 2, 3, 4, 5, 6]
    assert [event["meta_info"]["finish_reason"] for event in events[:-1]] == [None] * 5
    assert events[-1]["meta_info"]["finish_reason"]["type"] == "stop"
    assert "e2e_latency" in events[-1]["meta_info"]
    assert "e2e_latency" not in events[0]["meta_info"]


@pytest.mark.parametrize("per_event", [1, 2, 6, 50])
def test_events_of_several_tokens_give_the_same_stream(make_engine: MakeEngine, ask: Ask, per_event: int) -> None:
    events = ask(make_engine(per_event=per_event), "/generate", {**PROMPT, "stream": True}).data
    assert [event["text"] for event in events] == ["H", "He", "Hel", "Hell", "Hello", "Hello"]


def test_events_carry_numbers_only_for_a_router(engine: FakeEngine, ask: Ask) -> None:
    body = {**PROMPT, "stream": True}
    assert [number for number, _ in ask(engine, "/generate", body).events] == [None] * 6
    reply = ask(engine, "/generate", body, headers={"x-pdpanel-attempt": "a-1"})
    assert [number for number, _ in reply.events] == [1, 2, 3, 4, 5, 6]
    assert engine.last.attempt == "a-1"


def test_a_finish_without_a_token_has_a_number_of_its_own(make_engine: MakeEngine, ask: Ask) -> None:
    body = {**PROMPT, "stream": True, "sampling_params": {"max_new_tokens": 2}}
    reply = ask(make_engine(late_finish=True), "/generate", body, headers={"x-pdpanel-attempt": "a-1"})
    assert [number for number, _ in reply.events] == [1, 2, 3]
    last = reply.data[-1]
    assert (last["text"], last["meta_info"]["finish_reason"]) == ("He", {"type": "length", "length": 2})


def test_token_ids_as_prompt(engine: FakeEngine, ask: Ask) -> None:
    assert ask(engine, "/generate", {"input_ids": [1, 2, 3]}).json["meta_info"]["prompt_tokens"] == 3
    assert engine.last.prompt_ids == (1, 2, 3)


def test_a_stop_string_ends_the_text_and_aborts_the_request(engine: FakeEngine, ask: Ask) -> None:
    answer = ask(engine, "/generate", {**PROMPT, "rid": "r", "sampling_params": {"stop": "ll"}}).json
    assert answer["text"] == "He"
    assert answer["meta_info"]["finish_reason"] == {"type": "stop", "matched": "ll"}
    assert answer["meta_info"]["completion_tokens"] == 4
    assert engine.dropped == ["r"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_stop_string_aborts_before_the_answer_ends(engine: FakeEngine, serving: Any, stream: bool) -> None:
    async def main() -> list[str]:
        async with serving(engine) as (session, _):
            body = {**PROMPT, "rid": "r", "stream": stream, "sampling_params": {"stop": "ll"}}
            async with session.post("/generate", json=body) as response:
                await response.read()
            return list(engine.dropped)

    assert asyncio.run(main()) == ["r"]


def test_a_stop_string_within_one_event_cuts_ids_too(make_engine: MakeEngine, ask: Ask) -> None:
    engine = make_engine(per_event=6)
    answer = ask(engine, "/generate", {**PROMPT, "sampling_params": {"stop": ["ell"]}}).json
    assert (answer["text"], len(answer["output_ids"])) == ("H", 4)


def test_characters_of_several_tokens_come_whole(make_engine: MakeEngine, ask: Ask) -> None:
    engine = make_engine(reply="é€", per_event=1)
    events = ask(engine, "/generate", {**PROMPT, "stream": True}).data
    assert [event["text"] for event in events] == ["", "é", "é", "é", "é€", "é€"]


def test_what_sglang_router_sends_is_taken(make_engine: MakeEngine, ask: Ask) -> None:
    """The body that router 0.3.2 makes of a small request, as seen on the wire."""
    body = {
        "text": "hi",
        "model": None,
        "sampling_params": {"temperature": 0.0, "max_new_tokens": 3},
        "return_text_in_logprobs": False,
        "stream": False,
        "log_metrics": True,
        "return_hidden_states": False,
        "background": False,
        "no_logs": False,
        "return_bytes": False,
        "return_entropy": False,
        "bootstrap_host": "127.0.0.1",
        "bootstrap_port": None,
        "bootstrap_room": 1973796148876032681,
    }
    engine = make_engine(Mode.DECODE)
    assert ask(engine, "/generate", body).status == 200
    assert engine.last.bootstrap == Bootstrap("127.0.0.1", 8998, 1973796148876032681)


def test_what_the_benchmark_client_sends_is_taken(engine: FakeEngine, ask: Ask) -> None:
    body = {
        "text": "hi",
        "sampling_params": {"temperature": 0.0, "max_new_tokens": 3, "ignore_eos": True},
        "stream": True,
        "lora_path": None,
        "return_logprob": False,
        "return_routed_experts": False,
        "logprob_start_len": -1,
    }
    assert ask(engine, "/generate", body).status == 200
    assert engine.last.sampling.ignore_eos


def test_a_prefill_worker_streams_its_first_token_and_ends_after_the_transfer(
    make_engine: MakeEngine, serving: Any
) -> None:
    engine = make_engine(Mode.PREFILL, hold_after=1)

    async def main() -> tuple[bytes, bool, bytes]:
        async with (
            serving(engine) as (session, _),
            session.post("/generate", json={**PROMPT, **PAIR, "stream": True}) as response,
        ):
            first = await response.content.readuntil(b"\n\n")
            before_transfer = bool(engine.ended)
            engine.release.set()
            return first, before_transfer, await response.read()

    first, before_transfer, rest = asyncio.run(main())
    assert b'"text":"H"' in first
    assert b'"finish_reason":null' in first
    assert not before_transfer
    assert rest == b"data: [DONE]\n\n"
    assert len(engine.ended) == 1


def test_a_prefill_worker_answers_whole_with_one_token(make_engine: MakeEngine, ask: Ask) -> None:
    answer = ask(make_engine(Mode.PREFILL), "/generate", {**PROMPT, **PAIR}).json
    assert answer["text"] == "H"
    assert answer["meta_info"]["finish_reason"] == {"type": "length", "length": 1}


def test_a_stop_string_does_not_cut_a_transfer_short(make_engine: MakeEngine, ask: Ask) -> None:
    engine = make_engine(Mode.PREFILL)
    events = ask(engine, "/generate", {**PROMPT, **PAIR, "stream": True, "sampling_params": {"stop": "H"}}).data
    assert events[-1]["meta_info"]["finish_reason"] == {"type": "stop", "matched": "H"}
    assert len(engine.ended) == 1
    assert not engine.dropped


def test_a_failed_transfer_shows_in_the_stream(make_engine: MakeEngine, ask: Ask) -> None:
    lost = Finish(FinishKind.ABORT, message="The KV transfer failed.", http_status=502)
    engine = make_engine(Mode.PREFILL, fail_after=1, failure=lost)
    first, error = ask(engine, "/generate", {**PROMPT, **PAIR, "stream": True}).data
    assert first["text"] == "H"
    assert error["error"]["message"] == "The KV transfer failed."
    assert error["error"]["code"] == 502
    assert error["error"]["retryable"] is True


def test_both_halves_name_a_request_alike(make_engine: MakeEngine, ask: Ask) -> None:
    names = {
        ask(make_engine(mode), "/generate", {**PROMPT, **PAIR}).json["meta_info"]["id"]
        for mode in (Mode.PREFILL, Mode.DECODE)
    }
    assert len(names) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_that_fails_before_its_first_token_has_a_status(
    make_engine: MakeEngine, ask: Ask, stream: bool
) -> None:
    lost = Finish(FinishKind.ABORT, message="Decode went away.", http_status=502)
    reply = ask(make_engine(fail_after=0, failure=lost), "/generate", {**PROMPT, "stream": stream})
    assert (reply.status, reply.error["message"], reply.error["type"]) == (502, "Decode went away.", "peer_error")


def test_an_abort_without_a_status_is_499(make_engine: MakeEngine, ask: Ask) -> None:
    reply = ask(make_engine(fail_after=2, failure=Finish(FinishKind.ABORT)), "/generate", PROMPT)
    assert (reply.status, reply.error["type"]) == (499, "aborted_error")


def test_an_unforeseen_failure_keeps_its_text_inside(
    make_engine: MakeEngine, ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    engine = make_engine(fail_after=2, failure=ZeroDivisionError("secret"))
    whole = ask(engine, "/generate", PROMPT)
    assert (whole.status, whole.error["type"]) == (500, "internal_error")
    streamed = ask(engine, "/generate", {**PROMPT, "stream": True})
    assert streamed.data[-1]["error"]["code"] == 500
    assert b"secret" not in whole.body + streamed.body
    assert b"Traceback" not in whole.body + streamed.body
    assert caplog.text.count("ZeroDivisionError: secret") == 2


def test_a_full_worker_says_when_to_come_back(make_engine: MakeEngine, ask: Ask) -> None:
    reply = ask(make_engine(refusal=CapacityError("Full.", 2.5)), "/generate", {**PROMPT, "stream": True})
    assert (reply.status, reply.headers["Retry-After"], reply.error["type"]) == (503, "3", "overloaded_error")


def test_an_active_room_is_a_conflict(make_engine: MakeEngine, ask: Ask) -> None:
    refusal = ConflictError("bootstrap_room", 7, "active already", "use a fresh room")
    reply = ask(make_engine(Mode.DECODE, refusal=refusal), "/generate", {**PROMPT, **PAIR})
    assert (reply.status, reply.error["param"]) == (409, "bootstrap_room")


def test_a_worker_that_does_not_compute_takes_nothing(make_engine: MakeEngine, ask: Ask) -> None:
    engine = make_engine(alive=False)
    reply = ask(engine, "/generate", PROMPT)
    assert (reply.status, reply.headers["Retry-After"]) == (503, "1")
    assert not engine.requests


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("hold_after", [0, 2])
def test_a_client_that_hangs_up_aborts_its_request_at_once(
    make_engine: MakeEngine, serving: Any, stream: bool, hold_after: int
) -> None:
    engine = make_engine(hold_after=hold_after)
    body = {**PROMPT, "stream": stream, "rid": "gone"}

    async def main() -> None:
        async with serving(engine) as (session, _):
            if stream and hold_after:
                response = await session.post("/generate", json=body)
                await response.content.readuntil(b"\n\n")
                response.close()
            else:
                task = asyncio.create_task(session.post("/generate", json=body))
                await asyncio.wait_for(engine.accepted.wait(), 10)
                task.cancel()
            await asyncio.wait_for(engine.changed.wait(), 10)

    asyncio.run(main())
    assert engine.dropped == ["gone"]
    assert not engine.ended
