from __future__ import annotations

from dataclasses import replace

import pytest
from pdpanel.engine.errors import CapacityError, ConfigError
from pdpanel.panel.dialects.dialect import PortDefaults
from pdpanel.panel.host_facts import HostFacts
from pdpanel.panel.launch import Role
from sample_dialect import Placer, make_dialect

LOCAL = HostFacts(node="here", cores=8, python="python3", taken=frozenset({30000, 8998, 29000}))


def test_ports_are_the_same_on_each_node(placed: Placer) -> None:
    made = placed(
        prefill={"count": 2, "hosts": ["a", "b"]},
        decode={"count": 3, "hosts": ["a", "b", "c"]},
    )
    assert [worker.port for worker in made.workers] == [30000, 30000, 30001, 30001, 30001]
    assert [worker.bootstrap_port for worker in made.workers] == [8998, 8998, None, None, None]
    assert made.router is not None
    assert (made.router.port, made.router.listen, made.router.node) == (8000, "0.0.0.0", "a")


def test_further_workers_of_a_node_take_the_next_free_ports(placed: Placer) -> None:
    made = placed(prefill={"count": 2}, decode={"count": 2, "port": 30001})
    assert [worker.port for worker in made.workers] == [30000, 30002, 30001, 30003]
    assert [worker.bootstrap_port for worker in made.workers] == [8998, 8999, None, None]


def test_ports_in_use_on_this_host_are_left_out_elsewhere_not(placed: Placer) -> None:
    made = placed(local=LOCAL)
    assert [worker.port for worker in made.workers] == [30001, 30002]
    assert made.workers[0].bootstrap_port == 8999
    assert made.router is not None
    assert made.router.metrics_port == 29001
    named = {"prefill": {"count": 1, "hosts": ["here"]}, "decode": {"count": 1, "hosts": ["there"]}}
    assert [worker.port for worker in placed(local=LOCAL, **named).workers] == [30001, 30001]
    assert [worker.port for worker in placed(local=replace(LOCAL, node="x"), **named).workers] == [30000, 30001]


@pytest.mark.parametrize(
    ("fields", "field", "said"),
    [
        ({"decode": {"count": 1, "port": 30100}, "prefill": {"count": 1, "port": 30100}}, "decode.port", "prefill-0's"),
        ({"prefill": {"count": 1, "bootstrap_port": 8000}, "router": {"port": 8000}}, "prefill.bootstrap_port", "8001"),
        ({"router": {"port": 9000, "metrics_port": 9000}}, "router.metrics_port", "taken by the router"),
        ({"router": {"port": 9000}, "rpc_ports": [8990, 9100]}, "rpc_ports", "port 9000, which the router has"),
        ({"prefill": {"count": 1, "port": 2379}, "metadata": {"server": "etcd://127.0.0.1:2379", "start": True}},
         "prefill.port", "the metadata server"),
        ({"store": {}, "router": {"port": 50051}}, "store.master", "taken by the router"),
    ],
)  # fmt: skip
def test_a_port_that_is_wished_twice_is_an_error(
    placed: Placer, fields: dict[str, object], field: str, said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        placed(**fields)
    assert caught.value.field == field
    assert said in str(caught.value)


def test_the_error_names_a_free_port_nearby(placed: Placer) -> None:
    with pytest.raises(ConfigError) as caught:
        placed(prefill={"count": 1, "port": 30000}, decode={"count": 1, "port": 30000})
    assert caught.value.remedy == "write 30001, which is free, or leave it out"
    with pytest.raises(ConfigError, match="is in use on this host"):
        placed(prefill={"count": 1, "port": 30000}, local=LOCAL)


def test_all_ranks_hold_the_workers_ports(placed: Placer) -> None:
    made = placed(
        prefill={"count": 1, "tp": 16, "nodes": 2, "hosts": ["a", "b"], "port": 30005, "dist_port": 6000},
        decode={"count": 1, "hosts": ["b"], "port": 30006},
        router={"node": "b", "port": 30007},
    )
    assert [(worker.node, worker.port, worker.dist_init) for worker in made.workers[:2]] == [
        ("a", 30005, "a:6000"),
        ("b", 30005, "a:6000"),
    ]
    with pytest.raises(ConfigError, match="is taken by prefill-0's HTTP server on b"):
        placed(
            prefill={"count": 1, "tp": 16, "nodes": 2, "hosts": ["a", "b"], "port": 30005},
            decode={"count": 1, "hosts": ["b"], "port": 30005},
        )


def test_groups_on_one_first_node_leave_room_for_the_ports_that_sglang_derives(placed: Placer) -> None:
    group = {"tp": 8, "nodes": 2}
    made = placed(prefill={"count": 1, "hosts": ["a", "b"], **group}, decode={"count": 1, "hosts": ["a", "b"], **group})
    first, second = (int(worker.dist_init.rpartition(":")[2]) for worker in made.workers if worker.rank == 0)
    assert first == 5000
    assert not {second + offset for offset in (*range(8), 13)} & {first + offset for offset in (*range(8), 13)}


def test_dp_attention_on_one_node_keeps_derived_ports_apart(placed: Placer) -> None:
    made = placed(workers={"tp": 4, "dp": 4, "dp_attention": True})
    prefill, decode = (worker.port for worker in made.workers)

    def used(port: int) -> set[int]:
        return {port, port + 13, *range(port + 233, port + 241)}

    assert prefill == 30000
    assert not used(prefill) & used(decode)
    with pytest.raises(ConfigError, match=r"decode\.port = 30001: needs port 30\d+ as well"):
        placed(
            workers={"tp": 4, "attn_dp": 4},
            prefill={"count": 1, "port": 30000},
            decode={"count": 1, "port": 30001},
        )


def test_connectors_of_vllm_v0_are_fifty_ports_apart(placed: Placer) -> None:
    ports = PortDefaults(
        http={Role.PREFILL: 8100, Role.DECODE: 8200}, bootstrap=None, kv={Role.PREFILL: 13003, Role.DECODE: 13003}
    )
    v0 = make_dialect("vllm-v0", "vllm", ports=ports)
    prefill, decode = placed(v0).workers
    assert (prefill.kv_port, decode.kv_port, prefill.bootstrap_port) == (13003, 13053, None)
    with pytest.raises(ConfigError) as caught:
        placed(v0, prefill={"count": 1, "kv_port": 13003}, decode={"count": 1, "kv_port": 13040})
    assert caught.value.field == "decode.kv_port"
    assert "13053" in caught.value.remedy
    apart = placed(v0, prefill={"count": 1, "hosts": ["a"]}, decode={"count": 1, "hosts": ["b"]})
    assert [worker.kv_port for worker in apart.workers] == [13003, 13003]


def test_side_channels_have_a_port_for_each_data_parallel_rank(placed: Placer) -> None:
    ports = PortDefaults(http={}, kv={Role.PREFILL: 5600, Role.DECODE: 5600})
    made = placed(make_dialect("vllm", "vllm", ports=ports), workers={"dp": 4})
    assert [worker.kv_port for worker in made.workers] == [5600, 5604]


def test_a_full_machine_is_said(placed: Placer) -> None:
    full = replace(LOCAL, taken=frozenset(range(30000, 30600)))
    with pytest.raises(CapacityError, match="prefill-0's HTTP server is free on this host between 30000 and 30511"):
        placed(local=full)


def test_a_worker_of_one_node_holds_the_port_that_it_starts_its_ranks_at(placed: Placer) -> None:
    made = placed(
        prefill={"count": 2, "hosts": ["a"], "dist_port": 30001}, decode={"count": 1, "hosts": ["a"], "dist_port": 5000}
    )
    starts = {worker.name: worker.dist_init for worker in made.workers}
    first = int(starts["prefill-1"].rpartition(":")[2])
    assert (starts["prefill-0"], starts["decode-0"]) == ("a:30001", "a:5000")
    assert abs(first - 30001) > 7
    held = {*range(30001, 30009), *range(first, first + 8)}
    assert held.isdisjoint(worker.port for worker in made.workers)
    with pytest.raises(ConfigError, match=r"dist_port"):
        placed(
            prefill={"count": 1, "hosts": ["a"], "dist_port": 5000},
            decode={"count": 1, "hosts": ["a"], "dist_port": 5004},
        )
