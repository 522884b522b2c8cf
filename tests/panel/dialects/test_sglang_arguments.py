"""Whatever a person writes arrives as the words that were meant: nothing is split, joined or taken for an option."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from pdpanel.engine.errors import CapacityError, ConfigError
from pdpanel.panel.deployment import parse_deployment
from pdpanel.panel.host_facts import elsewhere
from pdpanel.panel.launch import LaunchPlan, decode_plan, encode_plan
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


PARALLEL = st.sampled_from(
    [
        {},
        {"tp": 2},
        {"tp": 8, "pp": 2},
        {"tp": 8, "dp": 8},
        {"tp": 8, "dp": 8, "dp_attention": True},
        {"tp": 16, "attn_dp": 2, "moe_a2a": "mooncake"},
        {"tp": 8, "attn_dp": 3},
        {"tp": 8, "moe_a2a": "x", "elastic_ep": "mooncake"},
    ]
)
OWN = st.sampled_from(
    [
        *({}, {}, {"dist_port": 5000}, {"bootstrap_port": 9001}, {"nics": ["m0"]}, {"nics": {"0": ["m0"]}}),
        *({"npu_phy_id": 2}, {"encoder_transfer": "mooncake"}, {"flags": {"page-size": 1}}, {"flags": {"tp-size": 2}}),
        *({"flags": {"disable-cuda-graph": True, "zzz": [1, "a b"]}}, {"base_gpu_id": 4}, {"port": 31000}),
    ]
)
HOSTS = st.sampled_from(
    [{}, {"hosts": ["n[1-4]"]}, {"hosts": ["n[1-4]"], "nodes": 2}, {"hosts": ["10.0.0.1", "fd00::2"]}]
)
COUNTS = st.integers(1, 3)
PAIRS = st.builds(
    lambda where, sizes, a, b, c, d: {
        "prefill": {"count": a, **sizes, **c, **where},
        "decode": {"count": b, **sizes, **d, **where},
    },
    *(HOSTS, PARALLEL, COUNTS, COUNTS, OWN, OWN),
)
ALONE = st.builds(
    lambda where, sizes, n, own: {"unified": {"count": n, **sizes, **own, **where}}, HOSTS, PARALLEL, COUNTS, OWN
)
OTHERS = st.fixed_dictionaries(
    {},
    optional={
        "transport": st.sampled_from(["mooncake", "mooncake_tcp", "nixl", "mori"]),
        "nics": st.sampled_from(["auto", ["m0", "m1"]]),
        "engine_version": VERSIONS,
        "router": st.sampled_from([{}, {"kind": "none"}, {"kind": "smg"}, {"kind": "mini_lb"}, {"kind": "bundled"}]),
        "gpu_selection": st.sampled_from(["none", "visible-devices", "base-gpu-id"]),
        "observe": st.booleans(),
        "rpc_ports": st.sampled_from(["auto", None]),
        "modelscope": st.booleans(),
    },
)
RARE = st.sampled_from(
    [
        *(
            {},
            {},
            {},
            {"store": {}},
            {"store": {"start": False, "metadata": "P2PHANDSHAKE"}},
            {"encoder": {"count": 2}},
        ),
        *({"dialect": "sglang-legacy"}, {"dialect": "sglang-legacy", "metadata": "etcd://n1:2379"}, {"nvlink": True}),
        *({"transport": "ascend", "ascend": {"store_url": "tcp://n1:1"}}, {"ascend": {"via_mooncake": True}}),
        *(
            {"transport": "nixl", "nixl": {"backend": "UCX"}},
            {"limits": {"queue_size": 3}},
            {"limits": {"thread_pool": 2}},
        ),
    ]
)
DEPLOYMENTS = st.builds(lambda roles, others, rare: {**roles, **others, **rare}, st.one_of(PAIRS, ALONE), OTHERS, RARE)


@settings(deadline=None, max_examples=200)
@given(DEPLOYMENTS)
def test_any_deployment_is_planned_or_refused_in_one_sentence(fields: dict[str, object]) -> None:
    try:
        made = plan(parse_deployment({"engine": "sglang", "model": "org/m", **fields}), elsewhere(), None)
    except (ConfigError, CapacityError) as error:
        assert "\n" not in str(error)
        return
    assert decode_plan(encode_plan(made)) == made
    names = {spec.name for spec in made.processes}
    for spec in made.processes:
        assert all(isinstance(word, str) for word in spec.argv)
        assert all(isinstance(value, str) for value in spec.env.values())
        assert set(spec.after) <= names
        assert not [word for word in spec.argv if word in ("", "None", "True", "False")]
    for finding in made.findings:
        assert finding.reason and finding.evidence
