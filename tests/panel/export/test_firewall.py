"""The exported nftables rules: which ports, for whom."""

from __future__ import annotations

import re
from dataclasses import replace

from export_plans import deployment, plan_of, process, two_nodes
from pdpanel.panel.deployment import Deployment
from pdpanel.panel.export.export import export_files
from pdpanel.panel.export.firewall import firewall_files
from pdpanel.panel.export.nodes import nodes_of
from pdpanel.panel.host_facts import elsewhere
from pdpanel.panel.launch import LaunchPlan, Role
from pdpanel.panel.plan import plan as planned


def rules(plan: LaunchPlan | None = None, wanted: Deployment | None = None) -> dict[str, str]:
    plan, wanted = plan or two_nodes(), wanted or deployment()
    return {file.path: file.text for file in firewall_files(plan, wanted, nodes_of(plan))}


def accepted(text: str) -> tuple[list[str], list[str]]:
    """Ports for everybody, and for hosts of the deployment."""
    lines = [line.strip() for line in text.splitlines()]
    everybody = [line for line in lines if re.match(r"tcp dport .* accept", line)]
    hosts = [line for line in lines if line.startswith("ip")]
    return everybody, hosts


def test_each_node_admits_the_deployment_to_its_own_ports_and_everybody_to_the_router() -> None:
    files = rules()
    assert list(files) == ["a/firewall.nft", "b/firewall.nft", "c/firewall.nft"]
    everybody, hosts = accepted(files["a/firewall.nft"])
    assert everybody == ["tcp dport { 8000 } accept"]
    ports = "{ 2379-2380, 8998, 15000-15031, 30000 }"
    assert hosts[0] == f"ip saddr @hosts4 tcp dport {ports} accept"
    assert f"    tcp dport {ports} drop" in files["a/firewall.nft"]
    assert "elements = { 10.7.0.1, 10.7.0.2 }" in files["a/firewall.nft"]
    assert "elements = { fd00::3 }" in files["a/firewall.nft"]
    everybody, hosts = accepted(files["b/firewall.nft"])
    assert everybody == []
    assert " 5000, " in hosts[0]


def test_a_group_of_sglang_takes_more_than_the_port_that_is_named() -> None:
    sglang = deployment(engine="sglang", prefill={"count": 1, "hosts": ["a"]}, decode={"count": 1, "hosts": ["b"]})
    _, hosts = accepted(rules(wanted=sglang)["b/firewall.nft"])
    assert "5000-5013" in hosts[0]


def test_ports_that_an_engine_derives_from_its_own_are_covered() -> None:
    """SGLang with DP attention takes ports after its HTTP port, and vLLM's NIXL one for each data parallel rank."""
    hosts = {"prefill": {"count": 1, "hosts": ["10.7.0.1"]}, "decode": {"count": 1, "hosts": ["10.7.0.2"]}}
    attention = deployment(engine="sglang", workers={"tp": 8, "dp": 8, "dp_attention": True}, **hosts)
    text = rules(planned(attention, elsewhere(), None), attention)["10.7.0.2/firewall.nft"]
    assert "30001, 30014, 30234-30241 } drop" in text
    ranks = deployment(engine="vllm", transport="nixl", workers={"dp": 4}, **hosts)
    text = rules(planned(ranks, elsewhere(), None), ranks)["10.7.0.2/firewall.nft"]
    assert "5600-5603" in text


def test_no_port_is_both_for_everybody_and_dropped() -> None:
    for text in rules().values():
        dropped = re.findall(r"tcp dport \{ (.*) \} drop", text)
        assert not any("8000" in ports for ports in dropped)


def test_without_a_router_everybody_reaches_unified_workers() -> None:
    worker = {"role": Role.UNIFIED, "ports": {"http": 30000}}
    plan = plan_of(process("u-0", node="a", **worker), process("u-1", node="b", **worker))
    for text in rules(plan).values():
        assert accepted(text) == (["tcp dport { 30000 } accept"], [])


def test_one_host_needs_no_rules() -> None:
    alone = plan_of(process("p", node="a", ports={"http": 30000}))
    assert rules(alone) == {}
    assert not any(file.path.endswith(".nft") for file in export_files(alone, deployment(), "sh"))


def test_a_band_that_is_none_is_left_out() -> None:
    plan = two_nodes()
    odd = {"MC_MIN_RPC_PORT": "9; drop", "MC_MAX_RPC_PORT": "10"}
    plan = replace(plan, processes=tuple(replace(spec, env=odd) for spec in plan.processes))
    assert "9; drop" not in "".join(rules(plan).values())
