"""The bundled engine's workers on several ranks: options, threads, nodes, encoders, and what is refused early."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.engine.model.random_models import write_random_model
from pdpanel.panel.deployment import parse_deployment
from pdpanel.panel.dialects.bundled_parallel import check_on_disk
from pdpanel.panel.host_facts import HostFacts
from pdpanel.panel.launch import LaunchPlan, ProcessSpec
from pdpanel.panel.plan import plan
from pdpanel.panel.planning.node_facts import NodeFacts

LLAMA = "random:llama-12h"
TWO_HOSTS = {"a": {"address": "127.0.0.1"}, "b": {"address": "127.0.0.2"}}


def planned(gpus: int | None = None, cores: int = 8, **fields: Any) -> LaunchPlan:
    nodes = {} if gpus is None else {"": NodeFacts(gpus=gpus)}
    host = HostFacts(node="n1", cores=cores, python="python3")
    return plan(parse_deployment({"model": LLAMA, **fields}), host, None, nodes)


def process(made: LaunchPlan, name: str) -> ProcessSpec:
    found = made.process(name)
    assert found is not None
    return found


def options(spec: ProcessSpec) -> dict[str, str]:
    """Returns the options of a command, those without a value with an empty one."""
    words, found = spec.argv, {}
    for place, word in enumerate(words):
        if word.startswith("--"):
            after = words[place + 1] if place + 1 < len(words) else "--"
            found[word] = "" if after.startswith("--") else after
    return found


def pair(prefill: Mapping[str, Any] = {}, decode: Mapping[str, Any] = {}, **fields: Any) -> dict[str, Any]:
    return {"prefill": {"count": 1, **prefill}, "decode": {"count": 1, **decode}, **fields}


def test_sizes_are_said_as_sglang_says_them() -> None:
    made = planned(**pair({"tp": 2}, {"tp": 4, "attn_dp": 2}))
    prefill, decode = options(process(made, "prefill-0")), options(process(made, "decode-0"))
    assert (prefill["--tp-size"], "--attn-dp-size" in prefill) == ("2", False)
    assert (decode["--tp-size"], decode["--attn-dp-size"]) == ("4", "2")
    older = options(process(planned(**pair(decode={"tp": 4, "dp": 2, "dp_attention": True})), "decode-0"))
    assert (older["--dp-size"], older["--enable-dp-attention"]) == ("2", "")


def test_experts_are_shared_out_where_a_backend_needs_it() -> None:
    made = planned(model="random:mixtral-8e", **pair({"tp": 2, "ep": 2}, {"tp": 4, "moe_a2a": "mooncake"}))
    prefill, decode = options(process(made, "prefill-0")), options(process(made, "decode-0"))
    assert (prefill["--tp-size"], prefill["--ep-size"], "--moe-a2a-backend" in prefill) == ("2", "2", False)
    assert (decode["--ep-size"], decode["--moe-a2a-backend"]) == ("4", "mooncake")
    elastic = planned(model="random:mixtral-8e", unified={"count": 1, "tp": 2, "elastic_ep": "gloo"})
    assert options(process(elastic, "unified-0"))["--elastic-ep-backend"] == "gloo"
    halves = planned(model="random:mixtral-8e", **pair({"tp": 2, "elastic_ep": "gloo"}, {"tp": 2}))
    prefill, decode = options(process(halves, "prefill-0")), options(process(halves, "decode-0"))
    assert (prefill["--elastic-ep-backend"], prefill["--ep-size"]) == ("gloo", "2")
    assert "--elastic-ep-backend" not in decode


@pytest.mark.parametrize(("cores", "tp", "threads"), [(8, 1, "4"), (8, 2, "2"), (8, 3, "1"), (2, 4, "1")])
def test_the_ranks_of_a_host_share_its_cores(cores: int, tp: int, threads: str) -> None:
    made = planned(cores=cores, unified={"count": 2, "tp": tp})
    assert {spec.env["OMP_NUM_THREADS"] for spec in made.processes} == {threads}


def test_threads_that_the_plan_gives_prefill_and_decode_are_those_of_a_rank() -> None:
    made = planned(**pair({"tp": 2}, {"count": 2, "tp": 2}))
    assert options(process(made, "prefill-0"))["--threads"] == "4"
    assert options(process(made, "decode-0"))["--threads"] == "2"


@pytest.mark.parametrize("gpus", [None, 0])
def test_a_host_without_gpus_computes_all_ranks_on_its_cpus(gpus: int | None) -> None:
    made = planned(gpus, **pair({"tp": 2}, {"tp": 3}))
    assert all(spec.gpus == () and "CUDA_VISIBLE_DEVICES" not in spec.env for spec in made.processes)


@pytest.mark.parametrize(
    ("gpus", "visible", "share"), [(4, ("0,1", "2,3"), None), (2, ("0,1", "0,1"), "0.43"), (1, ("0", "0"), "0.21")]
)
def test_ranks_have_gpus_of_their_own_or_share_them(gpus: int, visible: tuple[str, str], share: str | None) -> None:
    made = planned(gpus, **pair({"tp": 2}, {"tp": 2}))
    found = [process(made, name) for name in ("prefill-0", "decode-0")]
    assert tuple(spec.env["CUDA_VISIBLE_DEVICES"] for spec in found) == visible
    assert {options(spec).get("--mem-fraction-static") for spec in found} == {share}


def test_a_worker_over_two_nodes_of_one_host() -> None:
    fields = pair({"tp": 2, "nodes": 2, "hosts": ["a", "b"]}, {"hosts": ["a"]}, hosts=TWO_HOSTS)
    made = planned(**fields, router={"host": "127.0.0.1"})
    first, second = process(made, "prefill-0"), process(made, "prefill-0-rank1")
    one, two = options(first), options(second)
    assert one["--dist-init-addr"] == two["--dist-init-addr"] == f"127.0.0.1:{first.ports['dist']}"
    assert (one["--nnodes"], one["--node-rank"], two["--node-rank"]) == ("2", "0", "1")
    assert (one["--host"], two["--host"], one["--port"]) == ("127.0.0.1", "127.0.0.2", two["--port"])
    assert {name for name in one if one[name] != two[name]} == {"--host", "--node-rank"}
    assert second.ready.url == f"http://127.0.0.2:{two['--port']}/health"
    assert (first.rank, second.rank, second.metrics_url, second.info_url) == (0, 1, "", "")
    assert "bootstrap" in first.ports and set(second.ports) == {"http"}
    assert not made.findings, "all of loopback is one machine, with one clock"
    assert "127.0.0.2" not in " ".join(process(made, "router").argv), "the router speaks to first ranks alone"


@pytest.mark.parametrize(
    ("ready_s", "given", "waited"),
    [(None, {}, "570"), (200, {}, "170"), (60, {}, None), (None, {"dist-timeout": 9}, "9")],
)
def test_nodes_that_are_machines_wait_as_long_as_who_starts_them(
    ready_s: float | None, given: dict[str, int], waited: str | None
) -> None:
    """Each may have to fetch the model first; and whoever does not come is named before the start is given up."""
    hosts = {"a": {"address": "10.0.0.1"}, "b": {"address": "10.0.0.2"}}
    prefill = {"tp": 2, "nodes": 2, "hosts": ["a", "b"], "flags": given}
    made = planned(**pair(prefill, {"hosts": ["a"]}, hosts=hosts), limits={"ready_timeout_s": ready_s})
    for name in ("prefill-0", "prefill-0-rank1"):
        assert options(process(made, name)).get("--dist-timeout") == waited
    assert "--dist-timeout" not in process(made, "decode-0").argv


def test_two_workers_over_nodes_start_at_ports_of_their_own() -> None:
    nodes = {"tp": 2, "nodes": 2, "hosts": ["a", "b"]}
    made = planned(**pair(nodes, nodes, hosts=TWO_HOSTS), router={"host": "127.0.0.1"})
    ports = [process(made, name).ports["dist"] for name in ("prefill-0", "decode-0")]
    assert len(set(ports)) == 2


def test_encoders_and_those_who_ask_them() -> None:
    encoder = {"count": 2, "encoder_transfer": "mooncake"}
    made = planned(model="random:llava", **pair(), encoder=encoder, transport="tcp")
    urls = [f"http://127.0.0.1:{process(made, f'encoder-{place}').ports['http']}" for place in range(2)]
    prefill = process(made, "prefill-0").argv
    place = prefill.index("--encoder-urls")
    assert prefill[place + 1 : place + 3] == tuple(urls) and "--language-only" in prefill
    assert prefill[prefill.index("--encoder-transfer-backend") + 1] == "mooncake"
    first = process(made, "encoder-0")
    assert "--encoder-only" in first.argv and "--disaggregation-mode" not in first.argv
    assert "MC_MIN_RPC_PORT" in first.env
    assert options(first)["--disaggregation-transfer-backend"] == "tcp"
    assert {"--language-only", "--encoder-urls"} <= set(process(made, "decode-0").argv), "it may compute a prompt again"
    assert [spec.name for spec in made.processes][:2] == ["encoder-0", "encoder-1"]
    assert not any(one in " ".join(process(made, "router").argv) for one in urls)


WRONG: list[tuple[dict[str, Any], str]] = [
    (pair({"tp": 5, "attn_dp": 2}), r"prefill\.attn_dp = 2: does not divide tp 5"),
    (pair({"tp": 13}), r"prefill\.tp = 13: leaves a rank without a query head: the model has 12.*use 1, 2, .*12 ranks"),
    (pair(workers={"tp": 13}), r"workers\.tp = 13"),
    (pair({"dp": 2}), r"prefill\.dp = 2: asks for whole copies.*set prefill\.count"),
    (pair({"tp": 2, "ep": 2}), r"prefill\.ep = 2: the model has no experts"),
    (pair({"tp": 4, "ep": 2}, model="random:mixtral-8e"), r"prefill\.ep = 2: is neither 1 nor tp 4.*write 1 or 4"),
    (pair({"tp": 3, "ep": 3}, model="random:mixtral-8e"), r"prefill\.ep = 3: does not divide.*8 experts.*1, 2, 4, 8"),
    (pair({"tp": 2, "moe_a2a": "deepep"}), r"prefill\.moe_a2a = 'deepep'.*write none or gloo or mooncake"),
    (pair({"moe_a2a": "gloo"}), r"prefill\.moe_a2a = 'gloo': .*the worker has one.*set prefill\.tp to 2"),
    (pair({"tp": 2, "elastic_ep": "nixl"}), r"prefill\.elastic_ep = 'nixl'.*write gloo or mooncake"),
    (
        pair(
            {"tp": 2, "nodes": 2, "hosts": ["a", "b"], "elastic_ep": "gloo"}, hosts=TWO_HOSTS, model="random:mixtral-8e"
        ),
        r"prefill\.elastic_ep = .gloo.: is of workers on one node with one attention group.*over several nodes",
    ),
    (
        pair(decode={"tp": 4, "attn_dp": 2, "elastic_ep": "gloo"}, model="random:mixtral-8e"),
        r"decode\.elastic_ep = .gloo.: is of workers on one node with one attention group.*with DP attention",
    ),
    (
        {"unified": {"count": 1, "tp": 4, "attn_dp": 2, "elastic_ep": "gloo"}, "model": "random:mixtral-8e"},
        r"unified\.elastic_ep = 'gloo'.*with DP attention",
    ),
    (pair({"tp": 2, "ep": 1, "moe_a2a": "gloo"}), r"prefill\.ep = 1: leaves every expert on every rank"),
    (pair({"tp": 2, "nodes": 2}), r"prefill\.nodes = 2: is more than the 0 hosts"),
    (pair({"tp": 3, "nodes": 2, "hosts": ["a", "b"]}, hosts=TWO_HOSTS), r"prefill\.nodes = 2: does not divide"),
    (
        pair({"tp": 2, "nodes": 2, "hosts": ["a", "b"]}, hosts={**TWO_HOSTS, "b": {"address": "127.0.0.1"}}),
        r"hosts\.b\.address = '127\.0\.0\.1': is the address of a, too.*127\.0\.0\.2",
    ),
    (pair(encoder={"count": 1}), r"model = 'random:llama-12h': has no vision tower"),
    (pair({"encoder_transfer": "mooncake"}), r"prefill\.encoder_transfer = 'mooncake': has no encoders"),
    (pair(encoder={"count": 1, "encoder_transfer": "grpc"}, model="random:llava"), r"write zmq_to_scheduler or moonc"),
    (pair(encoder={"count": 1, "tp": 2}, model="random:llava"), r"encoder\.tp = 2: spreads an encoder"),
    (pair({"pp": 2}), r"prefill\.pp = 2: means nothing to the dialect bundled"),
    (pair({"flags": {"node-rank": 1}}), r"prefill\.flags\.node-rank = 1: is a flag that the plan sets.*field nodes"),
    (pair(decode={"flags": {"tp-size": 2}}), r"decode\.flags\.tp-size = 2: is a flag that the plan sets.*field tp"),
    (pair(model="random:llama-13h"), r"model = 'random:llama-13h'.*random:llama-12h"),
]


@pytest.mark.parametrize(("fields", "words"), WRONG, ids=range(len(WRONG)))
def test_what_the_engine_would_refuse_is_refused_before_a_start(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        planned(**fields)


def test_a_model_on_disk_is_asked_for_its_heads(tmp_path: Path) -> None:
    folder = write_random_model(tmp_path / "model", "mixtral-8e")
    wanted = parse_deployment({"model": str(folder), **pair({"tp": 9})})
    with pytest.raises(ConfigError, match=r"prefill\.tp = 9: leaves a rank without a query head: the model has 8"):
        check_on_disk(wanted, tmp_path)
    check_on_disk(parse_deployment({"model": str(folder), **pair({"tp": 8, "ep": 8})}), tmp_path)
    check_on_disk(parse_deployment({"model": str(tmp_path / "nothing"), **pair({"tp": 9})}), tmp_path)


def test_a_config_that_is_none_is_left_to_the_start(tmp_path: Path) -> None:
    for text in ("{", "[]", "{}", '{"num_attention_heads": "8"}'):
        (tmp_path / "config.json").write_text(text)
        check_on_disk(parse_deployment({"model": str(tmp_path), **pair({"tp": 99})}), tmp_path)
