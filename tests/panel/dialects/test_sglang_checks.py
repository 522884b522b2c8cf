from __future__ import annotations

import pytest

from .sglang_plans import ids, made, refused

COMPLETE = {"disaggregation-decode-allocation-policy": "prefill_complete"}


def test_parallel_sizes_that_sglang_refuses() -> None:
    refused("prefill.attn_dp", "stands beside dp", workers={"tp": 4, "attn_dp": 2, "dp": 2})
    refused("prefill.dp_attention", "has no dp", workers={"tp": 4, "dp_attention": True})
    refused("decode.attn_dp", "does not divide tp 8", workers={"tp": 8}, decode={"attn_dp": 3})
    refused("prefill.dp", "does not divide tp 4", workers={"tp": 4, "dp": 8, "dp_attention": True})
    refused("prefill.pp", "one pipeline stage", workers={"pp": 2, "elastic_ep": "mooncake"})


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"transport": "nixl"}, "transport nixl"),
        ({"workers": {"flags": COMPLETE, "pp": 2}}, "pipeline"),
        ({"workers": {"flags": COMPLETE, "tp": 2}}, "attention over several GPUs"),
        ({"workers": {"flags": {**COMPLETE, "enable-pd-role-switch": True}}}, "enable-pd-role-switch"),
        ({"workers": {"flags": {**COMPLETE, "enable-hisparse": True}}}, "enable-hisparse"),
        ({"encoder": {"count": 1}}, "encoders"),
        ({"store": {}}, "a store"),
        ({"env": {"SGLANG_DISAGG_STAGING_BUFFER": "1"}}, "SGLANG_DISAGG_STAGING_BUFFER"),
    ],
)
def test_what_prefill_complete_does_not_go_with(fields: dict[str, object], words: str) -> None:
    field = "prefill.flags.disaggregation-decode-allocation-policy"
    refused(field, f"does not go with.*{words}", **{"workers": {"flags": COMPLETE}, **fields})


def test_prefill_complete_alone_is_fine() -> None:
    assert ids(made(workers={"flags": COMPLETE, "tp": 4, "attn_dp": 4})) == set()
    cache = {"disaggregation-decode-enable-radix-cache": True}
    field = "decode.flags.disaggregation-decode-allocation-policy"
    refused(field, "prefix cache of decode", workers={"flags": COMPLETE}, decode={"flags": cache})


def test_roles_that_switch_and_what_they_cannot_do() -> None:
    field = "decode.flags.enable-pd-role-switch"
    for fields, words in (
        ({"ep": 2}, "expert parallelism"),
        ({"moe_a2a": "deepep"}, "moe_a2a deepep"),
        ({"pp": 2}, "pipeline"),
        ({"flags": {"enable-pd-role-switch": True, "dcp-size": 2}}, "decode context"),
        ({"flags": {"enable-pd-role-switch": True, "speculative-algorithm": "EAGLE"}}, "speculative"),
    ):
        refused(field, words, decode={"flags": {"enable-pd-role-switch": True}, **fields})


def test_flags_of_decode_that_need_another_engine() -> None:
    refused(
        "decode.flags.disaggregation-decode-host-receive-threshold",
        "host memory",
        decode={"flags": {"disaggregation-decode-host-receive-threshold": 0.5}},
    )
    made(decode={"flags": {"disaggregation-decode-host-receive-threshold": 1.0}})
    refused(
        "decode.flags.disaggregation-decode-enable-radix-cache",
        "enable-hisparse",
        decode={"flags": {"disaggregation-decode-enable-radix-cache": True, "enable-hisparse": True}},
    )


def test_flags_that_are_fields() -> None:
    refused("decode.flags.tp-size", "the plan sets itself", decode={"flags": {"tp-size": 2}})
    refused("prefill.flags.encoder-only", "the plan sets itself", workers={"flags": {"encoder-only": True}})
    refused(
        "prefill.flags.page-size", "is also the field page_size", workers={"flags": {"page-size": 1}, "page_size": 2}
    )
    made(workers={"flags": {"page-size": 16}})


def test_what_is_only_for_pairs_is_refused_for_unified_workers() -> None:
    refused("limits.thread_pool", "unified workers do both", unified={"count": 1}, limits={"thread_pool": 8})
    refused("nvlink", "unified workers do both", unified={"count": 1}, nvlink=True)
    made(unified={"count": 1}, limits={"ready_timeout_s": 60})
    refused("prefill.encoder_transfer", "has no encoders", prefill={"encoder_transfer": "mooncake"})
    refused("encoder.npu_phy_id", "means nothing", encoder={"count": 1, "npu_phy_id": 0})


def test_notes() -> None:
    assert ids(made(engine_version="0.4.5")) >= {"sglang-version"}
    assert ids(made(workers={"tp": 2, "ep": 1, "moe_a2a": "mooncake"})) == {"sglang-expert-parallel"}
    assert ids(made(workers={"moe_a2a": "telepathy"})) == {"flag-value-refused"}
    assert ids(made(workers={"elastic_ep": "mooncake"})) == {"sglang-elastic-ep"}
    assert ids(made(decode={"flags": {"disaggregation-enable-kv-checksum": True}})) == {"sglang-pair-flags"}
    assert ids(made(workers={"flags": {"disaggregation-enable-kv-checksum": True}})) == set()
    assert ids(made(decode={"flags": {"max-queued-requests": 9}})) == {"sglang-ignored"}
    assert ids(made(router={"flags": {"polcy": "random"}})) == {"flag-unknown"}


@pytest.mark.parametrize(("host", "found"), [("10.0.0.1", False), ("p1", False), ("10.0.0.2", True)])
def test_the_store_of_ascend_is_where_prefill_is(host: str, found: bool) -> None:
    where = {"prefill": {"hosts": ["p1"]}, "decode": {"hosts": ["d1"]}, "hosts": {"p1": {"address": "10.0.0.1"}}}
    plan = made(transport="ascend", ascend={"store_url": f"tcp://{host}:24669"}, **where)
    assert ("sglang-ascend-store" in ids(plan)) is found


@pytest.mark.parametrize("model", ["llava-hf/llava-1.5-7b-hf", "OpenGVLab/InternVL3-8B", "/models/intern-vl"])
def test_models_that_cannot_be_split(model: str) -> None:
    assert ids(made(model=model, encoder={"count": 1})) == {"sglang-encoder-model"}
    assert ids(made(model=model)) == set()
    assert ids(made(model="Qwen/Qwen3-VL-8B-Instruct", encoder={"count": 1})) == set()


@pytest.mark.parametrize(
    ("fields", "count"), [({"tp": 24}, 24), ({"tp": 16, "pp": 2}, 32), ({"tp": 8, "dp": 8}, 0), ({"tp": 16}, 0)]
)
def test_more_gpus_than_a_node_has(fields: dict[str, object], count: int) -> None:
    found = [finding for finding in made(workers=fields).findings if finding.id == "sglang-gpus-of-a-node"]
    assert bool(found) is bool(count)
    for finding in found:
        assert f"{count} GPUs" in finding.reason
        assert f"{count // 8} of 8 GPUs" in finding.remedy


def test_gpus_are_those_of_each_node() -> None:
    hosts = {"hosts": ["n[1-8]"], "nodes": 8}
    assert ids(made(workers={"tp": 64}, prefill=hosts, decode={**hosts, "hosts": ["m[1-8]"]})) == set()
