"""Whatever a person writes arrives as the words that were meant: nothing is split, joined or taken for an option."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.deployment import parse_deployment
from pdpanel.panel.host_facts import elsewhere
from pdpanel.panel.launch import LaunchPlan
from pdpanel.panel.plan import plan

from .sglang_plans import QUIET, option, process

HOSTILE = st.sampled_from(
    ["$(touch x)", "`id`", "a b", "'", '"', "a;b", "--port", "-x", "a=b", "|&", "*", "\\", "ü", "{}", "#", "--", "-1"]
)
TEXT = st.lists(st.one_of(HOSTILE, st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=8)))
WORDS = TEXT.map("".join)
VERSIONS = st.sampled_from(["", "0.5.23", "0.5.9", "0.4.6"])


def build(**fields: object) -> LaunchPlan:
    roles = {"prefill": {"count": 1}, "decode": {"count": 1}}
    return plan(parse_deployment({**QUIET, **roles, **fields}), elsewhere(), None)


@settings(deadline=None, max_examples=50)
@given(WORDS.filter(lambda text: bool(text.strip()) and not text.startswith("-")), WORDS, VERSIONS)
def test_a_models_name_is_one_argument(model: str, served: str, version: str) -> None:
    made = build(model=model, served_model_name=served, engine_version=version)
    for name in ("prefill-0", "decode-0"):
        argv = process(made, name).argv
        assert argv[3:5] == ("--model-path", model)
        if served.startswith("-"):
            assert argv[5] == f"--served-model-name={served}"
        elif served:
            assert argv[5:7] == ("--served-model-name", served)
        assert option(argv, "disaggregation-mode") == [name.partition("-")[0]]


@settings(deadline=None, max_examples=50)
@given(WORDS, VERSIONS)
def test_a_flags_value_stays_one_value(value: str, version: str) -> None:
    made = build(decode={"count": 1, "flags": {"chat-template": value}}, engine_version=version)
    last = process(made, "decode-0").argv[-2:]
    assert last == ("--chat-template", value) or last[1] == f"--chat-template={value}"
    if value.startswith("-"):
        assert last[1] == f"--chat-template={value}"


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 512), min_size=1, max_size=6), VERSIONS)
def test_a_list_is_as_many_words(sizes: list[int], version: str) -> None:
    made = build(decode={"count": 1, "flags": {"cuda-graph-bs": sizes}}, engine_version=version)
    argv = process(made, "decode-0").argv
    assert list(argv[-len(sizes) :]) == [str(size) for size in sizes]
    assert argv[-len(sizes) - 1].startswith("--cuda-graph-bs")


@settings(deadline=None, max_examples=50)
@given(WORDS)
def test_the_smoke_test_asks_what_a_person_wrote(prompt: str) -> None:
    request = build(smoke_test={"prompt": prompt}).requests[0]
    assert request.argv[-2] == "-d"
    assert json.loads(request.argv[-1])["text"] == prompt


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 4), st.integers(1, 4), st.booleans(), VERSIONS)
def test_every_worker_is_named_to_the_router_once(prefills: int, decodes: int, hosts: bool, version: str) -> None:
    where = {"hosts": ["n[1-3]"]} if hosts else {}
    roles = {"prefill": {"count": prefills, **where}, "decode": {"count": decodes, **where}}
    made = build(**roles, engine_version=version)
    argv = process(made, "router").argv
    urls = {f"http://{spec.node or '127.0.0.1'}:{spec.ports['http']}" for spec in made.processes[:-1]}
    named = [argv[place + 1] for place, word in enumerate(argv) if word in ("--prefill", "--decode")]
    assert sorted(named) == sorted(urls) and len(named) == prefills + decodes


@settings(deadline=None, max_examples=50)
@given(st.text(max_size=20))
def test_a_name_is_an_argument_or_a_plain_error(model: str) -> None:
    try:
        made = build(model=model)
    except ConfigError as error:
        assert error.field == "model"
    else:
        assert process(made, "prefill-0").argv[4] == model
