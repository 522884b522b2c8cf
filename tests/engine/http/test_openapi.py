"""The OpenAPI document is in step with fields and answers; nothing that it allows or forbids breaks a worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jsonschema_rs
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from pdpanel.engine.config import Mode
from pdpanel.engine.http import fields
from pdpanel.engine.http.openapi import openapi_document
from schemathesis import GenerationMode
from schemathesis.checks import negative_data_rejection
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

if TYPE_CHECKING:
    from .conftest import Ask, FakeEngine, MakeEngine

ROOM = {"bootstrap_host": "127.0.0.1", "bootstrap_port": 8998, "bootstrap_room": 7}
TABLES = {
    "/generate": fields.GENERATE,
    "/v1/completions": fields.COMPLETIONS,
    "/v1/chat/completions": fields.CHAT,
    "/flush_cache": fields.FLUSH,
    "/abort_request": fields.ABORT,
}
MODES = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]
CHECKS: list[Any] = [
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
]


def body_schema(document: dict[str, Any], path: str) -> dict[str, Any]:
    return document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]


@pytest.fixture
def document(engine: FakeEngine, ask: Ask) -> dict[str, Any]:
    reply = ask(engine, "/openapi.json")
    assert reply.status == 200
    return reply.json


@pytest.mark.parametrize("path", TABLES)
def test_every_field_that_is_known_is_described_and_no_other(document: dict[str, Any], path: str) -> None:
    table = TABLES[path]
    schema = body_schema(document, path)
    assert set(schema["properties"]) == table.implemented | set(table.neutral)
    assert schema["additionalProperties"] is False
    jsonschema_rs.validator_for(schema)  # it is a schema


def test_every_route_is_described(document: dict[str, Any], engine: FakeEngine, ask: Ask) -> None:
    served = ask(engine, "/nowhere").error["message"].split("use one of ")[1].rstrip(".").split(", ")
    assert set(served) - {"/openapi.json"} <= set(document["paths"])


def test_ranges_are_those_of_the_readers_and_of_the_model(document: dict[str, Any], engine: FakeEngine) -> None:
    completion = body_schema(document, "/v1/completions")["properties"]
    most = engine.model.context_length - 1
    assert completion["max_tokens"] == {"type": ["integer", "null"], "minimum": 1, "maximum": most}
    assert completion["top_p"] == {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 1}
    assert completion["sampling_seed"] == completion["seed"]
    assert completion["best_of"] == {"enum": [1, None]}
    assert completion["prompt"]["anyOf"][1]["items"]["maximum"] == engine.model.vocab_size - 1
    [sampling, _, _] = body_schema(document, "/generate")["properties"]["sampling_params"]["anyOf"]
    assert sampling["properties"]["max_new_tokens"] == completion["max_tokens"]


def test_a_server_without_a_model_describes_what_clients_may_send() -> None:
    document = openapi_document(["/generate", "/health", "/other"], omit=frozenset({"replayed_ids"}))
    assert set(document["paths"]) == {"/generate", "/health"}
    properties = body_schema(document, "/generate")["properties"]
    assert "replayed_ids" not in properties and "bootstrap_room" not in properties


@pytest.mark.parametrize(
    ("body", "good"),
    [
        ({"text": "a"}, True),
        ({"text": ["a", "b"], "sampling_params": [{}, {"n": None}]}, True),
        ({"input_ids": [[1], [2, 3]], "stream": None, "return_logprob": True}, True),
        ({"text": "a", "stop": "x"}, False),
        ({"text": "a", "sampling_params": {"top_p": 0}}, False),
        ({"text": "a", "sampling_params": {"n": 129}}, False),
        ({"input_ids": [-1]}, False),
        ({"text": ""}, False),
        ({}, False),
        ({"text": None}, False),
        ({"text": "a", "input_ids": [1]}, False),
        ({"text": "a", "input_ids": None}, True),
        ({"text": "a", "bootstrap_room": 7}, False),
    ],
)
def test_the_schema_and_the_worker_agree(
    document: dict[str, Any], engine: FakeEngine, ask: Ask, body: dict[str, Any], good: bool
) -> None:
    assert jsonschema_rs.validator_for(body_schema(document, "/generate")).is_valid(body) is good
    assert (ask(engine, "/generate", body).status == 200) is good


def test_the_half_of_a_pair_takes_a_meeting_place(make_engine: MakeEngine, ask: Ask) -> None:
    document = ask(make_engine(Mode.DECODE), "/openapi.json").json
    check = jsonschema_rs.validator_for(body_schema(document, "/v1/completions"))
    assert check.is_valid({"prompt": "a", **ROOM})
    assert check.is_valid({"prompt": ["a", "b"], **{name: [value, value] for name, value in ROOM.items()}})
    assert not check.is_valid({"prompt": "a", **ROOM, "bootstrap_port": 0})


CASES = [
    *((path, mode) for path in TABLES for mode in MODES),
    # What has no body leaves nothing to do wrong.
    *((path, GenerationMode.POSITIVE) for path in ("/health", "/v1/models/{name}", "/get_load", "/server_info")),
]


@pytest.mark.parametrize(("path", "mode"), CASES)
def test_schemathesis_finds_nothing(make_engine: MakeEngine, live: Any, path: str, mode: GenerationMode) -> None:
    engine = make_engine(context_length=4096)
    with live(engine) as url:
        schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
        schema.config.update(base_url=url)
        method = "POST" if path in TABLES else "GET"
        statuses: list[int] = []

        @given(case=schema[path][method].as_strategy(generation_mode=mode))
        @settings(
            max_examples=25,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
        )
        def run(case: Any) -> None:
            response = case.call(base_url=url)
            case.validate_response(response, checks=CHECKS)
            statuses.append(response.status_code)
            assert response.status_code < 500 or response.status_code in (503, 504)

        run()
    if mode is GenerationMode.POSITIVE and "{" not in path:
        assert 200 in statuses
