from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.deployment import parse_deployment
from pdpanel.panel.deployment_parts import RoleSpec
from pdpanel.panel.dialects.placement import Placement
from pdpanel.panel.host_facts import elsewhere
from pdpanel.panel.planning.hosts import HostTable
from pdpanel.panel.planning.node_facts import NodeFacts, typed_facts
from pdpanel.panel.planning.place import place
from pdpanel.panel.sizing.deployment_sizes import Sizes, parallelism_of, sizes_of
from pdpanel.panel.sizing.model import facts_of_config
from pdpanel.panel.sizing.parallelism import Parallelism
from sample_dialect import make_dialect

HOST = {"gpus": 8, "gpu_memory_gib": 80, "nics": ["mlx5_0", "mlx5_1"], "nic_gbps": 400}
ROLES = {"prefill": {"count": 1, "hosts": ["a"]}, "decode": {"count": 1, "hosts": ["b"]}}


def placed(**fields: Any) -> tuple[Placement, Mapping[str, NodeFacts]]:
    wanted = {"model": "m", "engine": "sglang", "hosts": {"a": HOST, "b": HOST}, **ROLES} | fields
    deployment = parse_deployment(wanted)
    nodes = {name: typed_facts(spec) for name, spec in HostTable(deployment).specs().items()}
    return place(deployment, make_dialect(), elsewhere(), None, nodes), nodes


def sizes(models: Mapping[str, Any], load: Mapping[str, Any] | None = None, **fields: Any) -> Sizes:
    return sizes_of(facts_of_config(models["Llama-3.1-8B"].config), *placed(**fields), **load or {})


def test_memory_by_hand(models: Mapping[str, Any]) -> None:
    found = sizes(models, {"prompt": 4000, "output": 500}, workers={"tp": 4, "mem_fraction": 0.5})
    prefill, decode = found.roles
    assert (prefill.role, decode.role, prefill.workers) == ("prefill", "decode", 1)
    assert prefill.memory is not None
    assert prefill.memory.kv_per_token.value == 2 * 32 * 8 * 128 * 2
    assert prefill.memory.kv_per_token_per_gpu.value == 2 * 32 * 8 * 128 * 2 / 4
    weights, reserve = prefill.memory.weights_per_gpu.value, prefill.memory.reserve.value
    assert prefill.memory.tokens.value == int((80 * 2**30 * 0.5 - weights - reserve) / 32768)


def test_the_smallest_gpu_of_a_role_counts_and_a_name_is_enough(models: Mapping[str, Any]) -> None:
    two = {"prefill": {"count": 2, "hosts": ["a", "b"]}, "decode": {"count": 1, "hosts": ["b"]}}
    hosts = {"a": HOST, "b": {"gpus": 8, "gpu": "NVIDIA H200"}}
    prefill, decode = sizes(models, hosts=hosts, **two).roles
    assert prefill.memory is not None and decode.memory is not None
    assert "85,899,345,920 B" in prefill.memory.tokens.formula
    assert decode.memory.tokens.value > prefill.memory.tokens.value


def test_what_is_not_known_is_said(models: Mapping[str, Any]) -> None:
    found = sizes(models, {"prompt": 100, "rate": 1.0}, hosts={"a": {"gpus": 8}, "b": HOST})
    assert found.roles[0].memory is None
    assert "memory of the GPUs is not known" in found.roles[0].unknown
    assert "weights on a GPU" in found.roles[0].figures
    assert found.transfer is None
    assert "rate of the NICs is not known" in found.unknown
    assert "Give --prompt and --rate" in sizes(models).unknown


def test_the_nics_of_a_worker_are_those_that_it_is_told(models: Mapping[str, Any]) -> None:
    load = {"prompt": 4000, "rate": 8.0}
    whole = sizes(models, load).transfer
    one = sizes(models, load, nics=["mlx5_1"]).transfer
    mapped = sizes(models, load, nics={"0": ["mlx5_0"]}).transfer
    assert whole is not None and one is not None and mapped is not None
    assert whole.given_per_prefill.value == 2 * 400 * 125e6 * 0.7
    assert one.given_per_prefill.value == mapped.given_per_prefill.value == whole.given_per_prefill.value / 2
    assert whole.needed.value == 4000 * 131072 * 8
    slow = sizes(models, load, transport="mooncake_tcp").transfer
    assert slow is not None
    assert slow.given_per_decode.value == pytest.approx(2 * 400 * 125e6 * 0.1)


def test_workers_of_a_host_share_its_nics(models: Mapping[str, Any]) -> None:
    both = {"prefill": {"count": 2, "hosts": ["a"]}, "decode": {"count": 1, "hosts": ["b"]}}
    found = sizes(models, {"prompt": 4000, "rate": 8.0}, **both).transfer
    assert found is not None
    assert found.given_per_prefill.value == found.given_per_decode.value / 2


def test_a_worker_over_two_nodes_has_the_nics_of_both(models: Mapping[str, Any]) -> None:
    group = {"prefill": {"count": 1, "tp": 16, "nodes": 2, "hosts": ["a", "c"]}, "decode": {"count": 1, "hosts": ["b"]}}
    hosts = {"a": HOST, "b": HOST, "c": HOST}
    found = sizes(models, {"prompt": 4000, "rate": 8.0}, hosts=hosts, **group).transfer
    assert found is not None
    assert found.given_per_prefill.value == 2 * found.given_per_decode.value


def test_unified_workers_send_nothing(models: Mapping[str, Any]) -> None:
    none = {"prefill": {"count": 0}, "decode": {"count": 0}, "unified": {"count": 1, "hosts": ["a"]}}
    assert sizes(models, {"prompt": 10, "rate": 1.0}, **none).unknown == "Nothing is sent: there are no decode workers."


def test_settings_become_parallelism() -> None:
    assert parallelism_of(RoleSpec(tp=8, pp=2, dp=8, dp_attention=True)) == Parallelism(8, 2, 1, 8)
    assert parallelism_of(RoleSpec(tp=8, attn_dp=4, ep=8)) == Parallelism(8, 1, 8, 4)
    assert parallelism_of(RoleSpec(tp=8, moe_a2a="mooncake")) == Parallelism(8, 1, 8, 1)
    assert parallelism_of(RoleSpec(dp=4)) == Parallelism()
    with pytest.raises(ConfigError):
        parallelism_of(RoleSpec(tp=8, ep=3))
