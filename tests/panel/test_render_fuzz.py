"""A fuzzer writes deployments along the schema, with good and bad values mixed.

What comes out is a plan that renders, checks and exports, or one sentence. Anything else is a bug.
"""

from __future__ import annotations

import json
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, given, settings
from pdpanel.engine.errors import PdpanelError
from pdpanel.panel.deployment import Deployment, dump_deployment, parse_deployment, parse_deployment_text
from pdpanel.panel.doctor.deployment import check_plan
from pdpanel.panel.export.export import export_files
from pdpanel.panel.export.formats import FORMATS
from pdpanel.panel.host_facts import elsewhere
from pdpanel.panel.plan import plan
from pdpanel.panel.render import render

SCHEMA: dict[str, Any] = Deployment.model_json_schema()
HOSTS = ["10.0.0.1", "10.0.0.2", "node[1-3]", "fd00::1", "localhost", "10.0.0.[254-256]", "gpu-a.example"]
TEXTS = """m,0.5.23,mooncake,deepep,4gb,10.0.0.1:50051,tcp://10.0.0.1:24667,http://10.0.0.1:8080/metadata,fp8_e4m3,
P2PHANDSHAKE,etcd://10.0.0.1:2379,round_robin,UCX,~nobody/x,$(reboot),`id`,a;b,%s{},it's,say "hi",a b,-x,--flag,é漢字"""
NASTY = ["", "a\nb", "\x1b[31m", "\u202ex", "\ud800", "x" * 300, "\0"]
KEYS = ["A", "LD_PRELOAD", "0", "1", "page-size", "max-model-len", "watchdog-timeout", "trust-remote-code"]
WRONG = st.sampled_from([None, True, -1, 0, 0.33, 1e308, float("nan"), 10**30, "", "x", [], {}, [[]], {"": 1}, [None]])
ENGINES = [
    {"engine": "bundled"},
    {"engine": "sglang", "engine_version": "0.5.23"},
    {"engine": "sglang", "engine_version": "0.4.5"},
    {"dialect": "sglang-legacy", "engine": "sglang"},
    {"engine": "vllm", "engine_version": "0.33.0"},
    {"engine": "vllm", "dialect": "vllm-v0"},
    {"engine": "vllm", "dialect": "vllm-ascend"},
    {"engine": "sglang", "dialect": "rocm-mad"},
]


def values(schema: dict[str, Any], name: str = "") -> st.SearchStrategy[Any]:
    """Returns values that the schema mostly allows."""
    if "$ref" in schema:
        return fields(SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]])
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return st.one_of([values(each, name) for each in schema[several]])
    kind = schema.get("type")
    if isinstance(kind, list):
        return st.one_of([values({"type": each}, name) for each in kind])
    if kind == "integer" or kind == "number":
        low, high = schema.get("minimum", 1), schema.get("maximum", 1 << 16)
        small = st.integers(max(low, 0), min(high, 8))
        return small | st.sampled_from([low, high, 30000, 8998, 65535])
    if kind == "boolean":
        return st.booleans()
    if kind == "array":
        return st.lists(values(schema.get("items", {"type": "string"}), name), max_size=3)
    if kind == "object":
        keys = {"hosts": HOSTS, "env": KEYS[:2], "flags": KEYS[4:], "nics": KEYS[2:4]}.get(name, KEYS)
        inner = schema.get("additionalProperties", {"type": "string"})
        return st.dictionaries(st.sampled_from(keys), values(inner if isinstance(inner, dict) else {}), max_size=2)
    if kind == "null":
        return st.none()
    if name in {"hosts", "host", "node", "nodes", "address"}:
        return st.sampled_from(HOSTS)
    words = [word.strip() for word in TEXTS.split(",")]
    return st.sampled_from([*words, *words, *words, *NASTY])


def fields(schema: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Returns mappings with some of a part's fields; one in many has a wrong value or an unknown name."""
    known = {name: values(each, name) for name, each in schema["properties"].items()}

    @st.composite
    def some(draw: st.DrawFn) -> dict[str, Any]:
        names = draw(st.lists(st.sampled_from(sorted(known)), max_size=2, unique=True))
        found = {name: draw(known[name]) for name in names}
        if draw(st.integers(0, 39)) == 0:
            found[draw(st.sampled_from([*sorted(known), "prefil", "\x1b[31m"]))] = draw(WRONG)
        return found

    return some()


@st.composite
def deployments(draw: st.DrawFn) -> dict[str, Any]:
    """Returns the fields of a deployment, most of them of one that could be."""
    part = draw(fields(SCHEMA))
    whole: dict[str, Any] = {"model": draw(st.sampled_from(["m", "Qwen/Qwen2.5-7B-Instruct", "/a b/it's $(x)"]))}
    whole |= draw(st.sampled_from(ENGINES))
    for role in ("prefill", "decode"):
        drawn = draw(fields(SCHEMA["$defs"]["RoleSpec"]))
        whole[role] = {"count": draw(st.integers(1, 3))} | drawn
    return whole | part


def judge(wanted: dict[str, Any], form: str) -> str:
    """Plans, renders, checks and exports; returns what became of it."""
    try:
        deployment = parse_deployment(wanted)
        again = parse_deployment_text(dump_deployment(deployment))
        assert again == deployment
        made = plan(deployment, elsewhere(), None)
    except PdpanelError as error:
        said = str(error)
        assert all(char.isprintable() for char in said), said
        assert len(said) < 2000
        return "refused"
    text = json.dumps(render(made), ensure_ascii=False)
    assert json.dumps(render(plan(deployment, elsewhere(), None)), ensure_ascii=False) == text
    check_plan(made)
    try:
        for file in export_files(made, deployment, form):
            assert ".." not in file.path.split("/") and not file.path.startswith("/")
            file.text.encode("utf-8", "surrogateescape")
    except PdpanelError as error:
        assert str(error).isprintable()
        return "not exported"
    return "planned"


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    derandomize=True,
)
@given(deployments(), st.sampled_from(sorted(FORMATS)))
def test_a_deployment_is_planned_or_refused_in_one_sentence(wanted: dict[str, Any], form: str) -> None:
    assert judge(wanted, form) in {"planned", "refused", "not exported"}


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    derandomize=True,
)
@given(st.dictionaries(st.sampled_from(sorted(SCHEMA["properties"])), WRONG, max_size=4), WRONG)
def test_wrong_types_everywhere_are_one_sentence(wanted: dict[str, Any], inner: Any) -> None:
    judge({"model": "m", "prefill": {"count": 1}, "decode": {"count": 1}} | wanted, "sh")
    role = {"count": 1, "hosts": inner, "flags": inner}
    judge({"model": "m", "prefill": role, "decode": {"count": 1}} | wanted, "sh")


def test_a_plain_deployment_of_each_engine_is_planned() -> None:
    plain = {"model": "m", "prefill": {"count": 1}, "decode": {"count": 1}}
    seen = [judge(plain | engine, "sh") for engine in ENGINES]
    assert seen.count("planned") >= 5, seen
