"""Whatever the OpenAPI document allows or forbids, a router before a real pair answers as documented."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from pd_http import get, post
from pdpanel.engine.http.openapi import openapi_document
from pdpanel.engine.http.port import ModelCard
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

# Small, so that an answer of any length ends soon.
ARGUMENTS = ["--max-total-tokens", "2048", "--context-length", "64", "--max-running-requests", "8"]
ROUTES = ("/generate", "/v1/completions", "/v1/chat/completions")
CHECKS: list[Any] = [status_code_conformance, content_type_conformance, response_schema_conformance]

pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]


@pytest.fixture(scope="module")
def pair(make_cluster, tmp_path_factory):
    with make_cluster(tmp_path_factory.mktemp("pair"), ARGUMENTS, prefill=1, decode=1) as made:
        yield made


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["allowed", "forbidden"])
@pytest.mark.parametrize("path", ROUTES)
def test_schemathesis_finds_nothing_behind_the_router(pair, path: str, mode: GenerationMode) -> None:
    assert set(ROUTES) <= set(get(pair.url + "/openapi.json")["paths"])
    # The router knows no model, so its own document leaves ranges open that would make nearly every request a bad one.
    info = get(pair.processes["decode-0"].url + "/model_info")
    card = ModelCard("", "", "", (), "", info["context_length"], info["vocab_size"], ())
    schema = schemathesis.openapi.from_dict(openapi_document(ROUTES, model=card, omit=frozenset({"replayed_ids"})))
    schema.config.update(base_url=pair.url)
    statuses: list[int] = []

    @given(case=schema[path]["POST"].as_strategy(generation_mode=mode))
    @settings(
        max_examples=30,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )
    def run(case: Any) -> None:
        response = case.call(base_url=pair.url, timeout=120)
        case.validate_response(response, checks=CHECKS)
        statuses.append(response.status_code)
        assert response.status_code < 500 or response.status_code in (503, 504), response.text

    run()
    if mode is GenerationMode.POSITIVE:
        assert 200 in statuses
    status, answer = post(pair.url + "/generate", {"text": "Hello", "sampling_params": {"max_new_tokens": 2}})
    assert status == 200, answer
    pair.wait_idle()
