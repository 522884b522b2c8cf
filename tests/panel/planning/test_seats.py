from __future__ import annotations

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.dialects.placement import Placement
from sample_dialect import Placer


def seats(placement: Placement) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {worker.name: (worker.node, worker.gpus) for worker in placement.workers}


def test_gpus_are_counted_up_where_their_number_is_not_known(placed: Placer) -> None:
    made = placed(prefill={"count": 2, "tp": 2}, decode={"count": 1, "tp": 4})
    assert seats(made) == {"prefill-0": ("", (0, 1)), "prefill-1": ("", (2, 3)), "decode-0": ("", (4, 5, 6, 7))}
    assert [worker.first_gpu for worker in made.workers] == [0, 2, 4]


def test_hosts_are_used_in_turn_and_full_ones_left_out(placed: Placer) -> None:
    made = placed(
        prefill={"count": 1, "tp": 4, "hosts": ["a"]},
        decode={"count": 3, "tp": 4, "hosts": ["a", "b"]},
        hosts={"a": {"gpus": 8}, "b": {"gpus": 8}},
    )
    low, high = (0, 1, 2, 3), (4, 5, 6, 7)
    assert seats(made) == {
        "prefill-0": ("a", low),
        "decode-0": ("a", high),
        "decode-1": ("b", low),
        "decode-2": ("b", high),
    }


def test_what_does_not_fit_names_host_wanted_there_and_a_fix(placed: Placer) -> None:
    with pytest.raises(ConfigError) as caught:
        placed(
            prefill={"count": 1, "tp": 8, "hosts": ["a"]},
            decode={"count": 3, "tp": 8, "hosts": ["b", "c"]},
            hosts={"a": {"gpus": 8}, "b": {"gpus": 8}, "c": {"gpus": 12}},
        )
    assert caught.value.field == "decode.count"
    assert "decode-2 wants 8 GPUs side by side" in str(caught.value)
    assert "b has 0 of 8 left, c has 4 of 12 left" in str(caught.value)
    assert caught.value.remedy == "set decode.count: 2 or name more hosts"


def test_a_worker_larger_than_its_host_is_told_to_span_two(placed: Placer) -> None:
    hosts = {"a": {"gpus": 8}, "b": {"gpus": 8}}
    with pytest.raises(ConfigError) as caught:
        placed(prefill={"count": 1, "tp": 16, "hosts": ["a", "b"]}, decode={"count": 1, "hosts": ["b"]}, hosts=hosts)
    assert caught.value.field == "prefill.tp"
    assert "16 GPUs of a, which has 8" in str(caught.value)
    assert "prefill.nodes: 2" in caught.value.remedy
    with pytest.raises(ConfigError) as caught:
        placed(workers={"tp": 16, "pp": 2}, prefill={"count": 1, "hosts": ["a"]}, hosts=hosts, host="10.0.0.1")
    assert caught.value.field == "workers.tp"
    assert "prefill.nodes: 4" in caught.value.remedy


def test_groups_of_nodes_take_the_hosts_in_order(placed: Placer) -> None:
    made = placed(
        prefill={"count": 1, "tp": 16, "nodes": 2, "hosts": ["n[1-2]"]},
        decode={"count": 2, "tp": 16, "nodes": 2, "hosts": ["n[3-6]"]},
        hosts={"n[1-6]": {"gpus": 8}},
    )
    eight = tuple(range(8))
    assert seats(made) == {
        "prefill-0": ("n1", eight),
        "prefill-0-rank1": ("n2", eight),
        "decode-0": ("n3", eight),
        "decode-0-rank1": ("n4", eight),
        "decode-1": ("n5", eight),
        "decode-1-rank1": ("n6", eight),
    }
    assert {worker.dist_init for worker in made.workers} == {"n1:5000", "n3:5000", "n5:5000"}
    assert [worker.rank for worker in made.workers] == [0, 1] * 3


def test_data_parallel_ranks_count_but_not_with_dp_attention(placed: Placer) -> None:
    plain = placed(prefill={"count": 1, "tp": 2, "dp": 2})
    assert plain.workers[0].gpus == (0, 1, 2, 3)
    for shared in ({"dp": 2, "dp_attention": True}, {"attn_dp": 2}):
        assert placed(prefill={"count": 1, "tp": 2, **shared}).workers[0].gpus == (0, 1)


def test_an_uneven_division_is_an_error_with_those_that_fit(placed: Placer) -> None:
    with pytest.raises(ConfigError) as caught:
        placed(prefill={"count": 1, "tp": 8, "nodes": 3, "hosts": ["n[1-3]"]}, host="10.0.0.9")
    assert caught.value.field == "prefill.nodes"
    assert caught.value.remedy == "write 1 or 2 or 4 or 8"


def test_base_gpu_id_holds_for_the_first_worker_of_a_node_and_counts_up(placed: Placer) -> None:
    made = placed(prefill={"count": 1, "tp": 2}, decode={"count": 2, "tp": 2, "base_gpu_id": 4})
    assert seats(made)["decode-0"] == ("", (4, 5))
    assert seats(made)["decode-1"] == ("", (6, 7))
    earlier = placed(prefill={"count": 1, "tp": 2}, decode={"count": 1, "tp": 2, "base_gpu_id": 0})
    assert seats(earlier)["prefill-0"] == ("", (2, 3))


def test_gpus_of_two_roles_may_not_overlap(placed: Placer) -> None:
    with pytest.raises(ConfigError) as caught:
        placed(prefill={"count": 1, "tp": 2, "base_gpu_id": 0}, decode={"count": 1, "tp": 2, "base_gpu_id": 1})
    assert caught.value.field == "decode.base_gpu_id"
    assert "GPUs 1 to 2 of this host, of which prefill-0 has some" in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        placed(
            prefill={"count": 1, "hosts": ["a"]},
            decode={"count": 1, "tp": 4, "base_gpu_id": 6, "hosts": ["a"]},
            hosts={"a": {"gpus": 8}},
        )
    assert "GPUs 6 to 9 of a, which has 8" in str(caught.value)
    assert caught.value.remedy == "write a number up to 4, or leave it out"


def test_listed_gpus_are_used_and_left_by_the_others(placed: Placer) -> None:
    made = placed(prefill={"count": 1, "tp": 2}, decode={"count": 2, "gpus": [0, 1]})
    assert seats(made) == {"prefill-0": ("", (2, 3)), "decode-0": ("", (0,)), "decode-1": ("", (1,))}
    apart = placed(prefill={"count": 1, "tp": 2, "gpus": [3, 5]}, gpu_selection="visible-devices")
    assert apart.workers[0].visible == ("3", "5")
    with pytest.raises(ConfigError, match="side by side"):
        placed(prefill={"count": 1, "tp": 2, "gpus": [3, 5]})
    with pytest.raises(ConfigError, match=r"prefill\.gpus allows 1 on each"):
        placed(prefill={"count": 2, "gpus": [3]})
    with pytest.raises(ConfigError, match="8: is not a GPU of a, which has 8; write numbers from 0 to 7"):
        placed(
            prefill={"count": 1, "gpus": [8], "hosts": ["a"]},
            decode={"count": 1, "hosts": ["a"]},
            hosts={"a": {"gpus": 8}},
        )


def test_names_of_one_address_are_one_machine(placed: Placer) -> None:
    made = placed(
        prefill={"count": 1, "hosts": ["a"]},
        decode={"count": 1, "hosts": ["b"], "port": 30000},
        hosts={"a": {"address": "127.0.0.1"}, "b": {"address": "127.0.0.2"}},
    )
    prefill, decode = made.workers
    assert (prefill.gpus, decode.gpus) == ((0,), (1,))
    assert (prefill.port, decode.port) == (30001, 30000)
    assert made.several_nodes


def test_processes_that_others_cannot_reach_are_refused(placed: Placer) -> None:
    with pytest.raises(ConfigError) as caught:
        placed(prefill={"count": 1, "hosts": ["a"]})
    assert (caught.value.field, caught.value.value) == ("host", "127.0.0.1")
    assert placed(prefill={"count": 1, "hosts": ["a"]}, host="10.0.0.1").several_nodes
    with pytest.raises(ConfigError, match=r"hosts\.b\.address"):
        placed(
            prefill={"count": 1, "hosts": ["a"]},
            decode={"count": 1, "hosts": ["b"]},
            hosts={"b": {"address": "127.0.0.1"}},
        )


def test_gpu_selection_none_leaves_gpus_open(placed: Placer) -> None:
    made = placed(prefill={"count": 3, "tp": 4}, gpu_selection="none")
    assert {worker.gpus for worker in made.workers} == {()}
    with pytest.raises(ConfigError, match="4 GPUs of a, which has 2"):
        placed(
            prefill={"count": 1, "tp": 4, "hosts": ["a"]},
            decode={"count": 1, "hosts": ["a"]},
            hosts={"a": {"gpus": 2}},
            gpu_selection="none",
        )


def test_hosts_in_short_form_have_one_entry_each(placed: Placer) -> None:
    with pytest.raises(ConfigError, match="is one address for 2 hosts"):
        placed(hosts={"n[1-2]": {"address": "10.0.0.1"}})
    made = placed(
        prefill={"count": 1, "hosts": ["n1"]},
        decode={"count": 1, "hosts": ["n2"]},
        hosts={"n[1-2]": {"gpus": 8}, "n2": {"address": "10.0.0.2", "gpus": 1}},
    )
    assert made.addresses == {"n1": "n1", "n2": "10.0.0.2"}
