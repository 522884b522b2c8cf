"""What holds for every plan for vLLM, whatever its fields are."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from pdpanel.engine.errors import PdpanelError
from pdpanel.panel.deployment import parse_deployment
from pdpanel.panel.flags.table import load_table
from pdpanel.panel.host_facts import elsewhere
from pdpanel.panel.launch import LaunchPlan, Role, decode_plan, encode_plan
from pdpanel.panel.plan import plan
from pdpanel.panel.render import render

WORKERS = {Role.PREFILL, Role.DECODE, Role.UNIFIED}
# vLLM 0.32's KVTransferConfig, which forbids all others, and those that the V0 engine has beside them.
KEYS = {
    *("kv_connector", "engine_id", "kv_buffer_device", "kv_role", "kv_port", "kv_connector_extra_config"),
    *("kv_connector_module_path", "enable_permute_local_kv", "kv_load_failure_policy"),
}
V0_KEYS = {"kv_rank", "kv_parallel_size", "kv_buffer_size"}
HOSTILE = st.text(
    alphabet=st.one_of(
        st.characters(min_codepoint=32, max_codepoint=126), st.sampled_from("éß漢'\"$`\\(){}[]*?~;&|<>")
    ),
    min_size=1,
    max_size=40,
).filter(lambda text: text.strip() and not text.startswith("-"))
HOSTS = st.lists(st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.0.3"]), min_size=1, max_size=3, unique=True)


@st.composite
def roles(draw: st.DrawFn, named: bool, most: int) -> dict[str, Any]:
    fields: dict[str, Any] = {"count": draw(st.integers(1, most)), "tp": draw(st.sampled_from([None, 1, 2, 4]))}
    if most > 1:
        fields["dp"] = draw(st.sampled_from([None, 2, 3]))
    if named:
        fields["hosts"] = draw(HOSTS)
    return fields


@st.composite
def wanted(draw: st.DrawFn) -> dict[str, Any]:
    dialect = draw(st.sampled_from(["vllm", "vllm-v0", "vllm-ascend"]))
    named, most = draw(st.booleans()), 1 if dialect == "vllm-v0" else 4
    fields: dict[str, Any] = {
        "engine": "vllm",
        "dialect": dialect,
        "model": draw(HOSTILE),
        "served_model_name": draw(st.one_of(st.just(""), HOSTILE)),
        "workers": {"flags": {"seed": 1, "chat-template": draw(HOSTILE)}},
        "smoke_test": {"prompt": draw(HOSTILE)},
        "ascend": {"interface": "eth0"} if dialect == "vllm-ascend" else {},
        "nics": ["mlx5_0"] if dialect == "vllm-v0" else "auto",
        "metadata": "10.0.0.1:2379" if dialect == "vllm-v0" else None,
    }
    if dialect == "vllm":
        fields["transport"] = draw(st.sampled_from(["mooncake", "mooncake_tcp", "nixl", "mori"]))
        if draw(st.booleans()):
            fields["store"] = {"kind": draw(st.sampled_from(["connector", "lmcache"])), "master": "10.0.0.1:50051"}
        if draw(st.integers(0, 4)) == 0:
            return {**fields, "unified": draw(roles(named, most))}
    return {**fields, "prefill": draw(roles(named, most)), "decode": draw(roles(named, most))}


def made(fields: dict[str, Any]) -> LaunchPlan | None:
    """Returns the plan, or None where the fields do not go together, which is said in one sentence."""
    try:
        return plan(parse_deployment(fields), elsewhere(), None)
    except PdpanelError as error:
        assert "\n" not in str(error)
        return None


@settings(deadline=None)
@given(wanted())
def test_no_two_processes_of_a_node_share_a_port(fields: dict[str, Any]) -> None:
    found = made(fields)
    if found is None:
        return
    held: dict[str, list[int]] = defaultdict(list)
    for spec in found.processes:
        held[spec.node] += spec.ports.values()
    assert all(len(ports) == len(set(ports)) for ports in held.values()), held


@settings(deadline=None)
@given(wanted())
def test_the_connectors_json_has_keys_that_its_engine_knows(fields: dict[str, Any]) -> None:
    found = made(fields)
    if found is None:
        return
    known = KEYS | V0_KEYS if fields["dialect"] == "vllm-v0" else KEYS
    for spec in found.processes:
        if "--kv-transfer-config" not in spec.argv:
            continue
        config = json.loads(spec.argv[spec.argv.index("--kv-transfer-config") + 1])
        entries = [config, *config.get("kv_connector_extra_config", {}).get("connectors", [])]
        for entry in entries:
            assert set(entry) <= known
            assert entry["kv_role"] in {"kv_producer", "kv_consumer", "kv_both"}


@settings(deadline=None)
@given(wanted())
def test_hostile_texts_stay_single_arguments_and_the_plan_survives_json(fields: dict[str, Any]) -> None:
    found = made(fields)
    if found is None:
        return
    for spec in found.processes:
        if spec.role in WORKERS:
            assert fields["model"] in spec.argv
            assert spec.argv[spec.argv.index("--chat-template") + 1] == fields["workers"]["flags"]["chat-template"]
    for request in found.requests:
        assert json.loads(request.argv[-1])["prompt"] == fields["smoke_test"]["prompt"]
    assert decode_plan(encode_plan(found)) == found
    assert json.loads(json.dumps(render(found)))


@settings(deadline=None)
@given(wanted())
def test_workers_are_in_the_router_that_waits_for_them_and_wait_for_servers_alone(fields: dict[str, Any]) -> None:
    found = made(fields)
    if found is None:
        return
    servers = {spec.name for spec in found.processes if spec.role in {Role.METADATA, Role.STORE}}
    for spec in found.processes:
        assert spec.role not in WORKERS or set(spec.after) <= servers
    router = found.process("router")
    assert router is not None
    answering = {spec.name for spec in found.processes if spec.role in WORKERS and not spec.rank}
    # Workers of MoRIIOConnector register at a router that is there.
    assert set(router.after) == (set() if router.ports.get("discovery") else answering)
    if router.targets or fields.get("transport") == "mori":
        return
    text = " ".join(router.argv)
    assert all(str(spec.ports["http"]) in text for spec in found.processes if spec.role in WORKERS and not spec.rank)


@settings(deadline=None)
@given(wanted())
def test_every_option_is_one_of_todays_vllm(fields: dict[str, Any]) -> None:
    table = load_table("vllm")
    found = made(fields)
    assert table is not None
    if found is None:
        return
    for spec in found.processes:
        if spec.role not in WORKERS:
            continue
        start = spec.argv.index(fields["model"])
        words = [word.partition("=")[0] for word in spec.argv[start + 1 :] if word.startswith("--")]
        assert [word for word in words if word not in table.options] == []
