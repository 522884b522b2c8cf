from __future__ import annotations

from typing import get_args

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.deployment import Deployment, DialectName, Transport, parse_deployment
from pdpanel.panel.dialects.registry import DIALECTS, dialect_of
from pdpanel.panel.planning.fields import COMMON_FIELDS, set_fields

PAIR = {"model": "m", "prefill": {"count": 1}, "decode": {"count": 1}}


def test_every_dialect_that_a_deployment_may_name_is_there() -> None:
    assert set(DIALECTS) == set(get_args(DialectName))
    for name, dialect in DIALECTS.items():
        assert dialect.name == name and dialect.title and dialect.about.endswith(".")
        assert set(dialect.transports) <= set(get_args(Transport))


@pytest.mark.parametrize("name", DIALECTS)
def test_the_fields_of_a_dialect_are_fields_of_a_deployment(name: str) -> None:
    for field in DIALECTS[name].fields | COMMON_FIELDS:
        part: object = Deployment
        for word in field.split("."):
            fields = getattr(part, "model_fields", {})
            assert word in fields, field
            kinds = (fields[word].annotation, *get_args(fields[word].annotation))
            part = next((kind for kind in kinds if hasattr(kind, "model_fields")), None)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({}, "bundled"),
        ({"engine": "sglang"}, "sglang"),
        ({"engine": "sglang", "engine_version": "0.5.23"}, "sglang"),
        ({"engine": "sglang", "engine_version": "0.4.5.post1"}, "sglang-legacy"),
        ({"engine": "sglang", "engine_version": "v0.4.5.post2"}, "sglang"),
        ({"engine": "sglang", "dialect": "sglang-legacy"}, "sglang-legacy"),
        ({"engine": "vllm"}, "vllm"),
        ({"engine": "vllm", "engine_version": "0.6.4.post1"}, "vllm-v0"),
        ({"engine": "vllm", "transport": "ascend"}, "vllm-ascend"),
    ],
)
def test_engine_and_version_say_the_dialect(fields: dict[str, object], name: str) -> None:
    assert dialect_of(parse_deployment({**PAIR, **fields})).name == name


def test_a_dialect_of_another_engine_is_refused() -> None:
    with pytest.raises(ConfigError, match="is not of the engine vllm") as caught:
        dialect_of(parse_deployment({**PAIR, "engine": "vllm", "dialect": "sglang"}))
    assert caught.value.remedy == "set engine: sglang"


def test_only_what_differs_is_set() -> None:
    assert set(set_fields(parse_deployment(PAIR))) == {"model", "prefill.count", "decode.count"}
