"""Ranks of a run's workers: from the plan before the start, by the workers' own words after."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from pdpanel.engine.errors import PeerError
from pdpanel.panel.deployment import parse_deployment
from pdpanel.panel.host_facts import HostFacts
from pdpanel.panel.launch import LaunchPlan, ProcessSpec
from pdpanel.panel.plan import plan
from pdpanel.panel.rank_sizes import ranks_of_process
from pdpanel.panel.ranks import planned_ranks, running_ranks
from pdpanel.panel.runner.rows import Scraped, Translator
from pdpanel.panel.runner.series import known_series
from pdpanel.panel.telemetry.recognise import MetricsReader
from pdpanel.panel.web.series_views import to_series
from pdpanel.presets import load_preset


def made(**fields: Any) -> LaunchPlan:
    deployment = {"model": "random:llama-12h", "prefill": {"count": 1, "tp": 2}, "decode": {"count": 1}, **fields}
    return plan(parse_deployment(deployment), HostFacts(node="n1", cores=8, python="python3"), None)


def test_a_plan_tells_the_heads_of_each_rank() -> None:
    found = planned_ranks(made())
    assert list(found) == ["prefill-0"], "a worker of one rank is none"
    worker = found["prefill-0"]
    assert (worker["source"], worker["sizes"]) == ("plan", {"tp": 2, "attn_dp": 1, "ep": 1, "nodes": 1})
    assert [(rank["heads"], rank["kv_heads"], rank["alive"]) for rank in worker["ranks"]] == [
        ([0, 6], [0, 6], None),
        ([6, 12], [6, 12], None),
    ]


def test_a_plan_tells_groups_and_experts() -> None:
    decode = {"count": 1, "tp": 2, "attn_dp": 2, "ep": 2, "moe_a2a": "gloo"}
    worker = planned_ranks(made(model="random:mixtral-8e", prefill={"count": 1}, decode=decode))["decode-0"]
    assert (worker["backend"], worker["sizes"]["attn_dp"]) == ("gloo", 2)
    assert [(rank["group"], rank["experts"], rank["heads"]) for rank in worker["ranks"]] == [
        (0, [0, 1, 2, 3], [0, 8]),
        (1, [4, 5, 6, 7], [0, 8]),
    ]


def test_a_model_that_is_not_known_has_ranks_without_heads() -> None:
    worker = planned_ranks(made(model="org/unknown"))["prefill-0"]
    assert [rank["heads"] for rank in worker["ranks"]] == [None, None]


def test_the_ranks_of_several_nodes_belong_to_their_processes() -> None:
    launch = plan(parse_deployment(load_preset("parallel-two-nodes")), HostFacts("n", 4, "python3"), None)
    worker = planned_ranks(launch)["prefill-0"]
    assert [(rank["process"], rank["node"]) for rank in worker["ranks"]] == [
        ("prefill-0", 0),
        ("prefill-0-rank1", 1),
    ]
    assert {spec.name: ranks_of_process(spec) for spec in launch.processes}["prefill-0-rank1"] == 1


def test_another_engines_ranks_are_told_too() -> None:
    launch = made(engine="sglang", model="org/m", prefill={"count": 1, "tp": 8, "dp": 4, "dp_attention": True})
    worker = planned_ranks(launch)["prefill-0"]
    assert worker["sizes"] == {"tp": 8, "attn_dp": 4, "ep": 1, "nodes": 1}
    assert [rank["group"] for rank in worker["ranks"]] == [0, 0, 1, 1, 2, 2, 3, 3]


def info(**changes: Any) -> dict[str, Any]:
    ranks = [
        {"rank": 0, "pid": 11, "node": 0, "group": 0, "heads": [0, 7], "kv_heads": [0, 7], "experts": []},
        {"rank": 1, "pid": 12, "node": 0, "group": 0, "heads": (7, 12), "kv_heads": (7, 12), "experts": (), **changes},
    ]
    return {"sizes": {"tp": 2, "attn_dp": 1, "ep": 1, "nodes": 1}, "ranks": ranks}


def test_a_worker_that_runs_has_the_last_word() -> None:
    worker = running_ranks(made(), lambda spec: info(alive=False))["prefill-0"]
    assert worker["source"] == "worker"
    assert [(rank["pid"], rank["heads"], rank["alive"]) for rank in worker["ranks"]] == [
        (11, [0, 7], True),
        (12, [7, 12], False),
    ]


@pytest.mark.parametrize("answer", [{}, {"ranks": []}, {"ranks": [1], "sizes": {}}, {"ranks": "x", "sizes": 3}, None])
def test_a_worker_that_says_nothing_of_use_is_drawn_as_planned(answer: Any) -> None:
    def ask(spec: ProcessSpec) -> Mapping[str, Any]:
        if answer is None:
            raise PeerError("away")
        return answer

    assert running_ranks(made(), ask) == planned_ranks(made())


PAGE = b"""# TYPE sglang:num_running_reqs gauge
sglang:num_running_reqs{dp_rank="0"} 2
sglang:num_running_reqs{dp_rank="1"} 3
# TYPE pdpanel:rank_compute_seconds_total counter
pdpanel:rank_compute_seconds_total{rank="0"} %d
pdpanel:rank_compute_seconds_total{rank="1"} 4
pdpanel:rank_compute_seconds_total{rank="9"} 4
# TYPE pdpanel:rank_rss_bytes gauge
pdpanel:rank_rss_bytes{rank="1"} 500
# TYPE pdpanel:rank_kv_bytes_total counter
pdpanel:rank_kv_bytes_total{rank="0"} 7
"""


def test_ranks_and_attention_groups_have_series_of_their_own() -> None:
    launch = made(decode={"count": 1, "tp": 2, "attn_dp": 2})
    translator, reader = Translator(launch), MetricsReader()
    translator.row(0.0, {"decode-0": Scraped(0.0, reader.read(PAGE % 4))}, {})
    values = translator.row(2.0, {"decode-0": Scraped(2.0, reader.read(PAGE % 5))}, {})
    ranks = {key: value for key, value in values.items() if key.startswith(("rank/", "group/"))}
    assert ranks == {
        "rank/decode-0/0/compute_percent": 50.0,
        "rank/decode-0/1/compute_percent": 0.0,
        "rank/decode-0/1/rss_bytes": 500.0,
        "group/decode-0/0/running": 2.0,
        "group/decode-0/1/running": 3.0,
    }
    assert values["proc/decode-0/running"] == 5.0, "the worker's own figure is that of all groups"
    known = known_series(launch)
    assert ranks.keys() <= known.keys()
    views = {key: view for key in ranks if (view := to_series(known[key])) is not None}
    assert views["rank/decode-0/1/rss_bytes"].label == "decode-0 rank 1"
    assert (views["group/decode-0/0/running"].group, views["rank/decode-0/0/compute_percent"].group) == (
        "attention",
        "ranks",
    )


def test_a_rank_is_busy_for_a_share_of_its_own_time() -> None:
    """A rank tells its counters every second, and they are read twice as often."""
    translator, reader = Translator(made()), MetricsReader()
    page = (
        b"# TYPE pdpanel:rank_seconds_total counter\n"
        b'pdpanel:rank_seconds_total{rank="1"} %d\n'
        b"# TYPE pdpanel:rank_compute_seconds_total counter\n"
        b'pdpanel:rank_compute_seconds_total{rank="1"} %.1f\n'
    )
    shares: list[float | None] = []
    for moment, lived, computed in ((0.0, 10, 4.0), (0.5, 10, 4.0), (1.0, 11, 4.6), (1.5, 11, 4.6), (4.0, 11, 4.6)):
        row = translator.row(moment, {"prefill-0": Scraped(moment, reader.read(page % (lived, computed)))}, {})
        shares.append(row.get("rank/prefill-0/1/compute_percent"))
    assert shares == [None, None, pytest.approx(60.0), pytest.approx(60.0), None], "silence is a gap"


def test_what_ranks_send_is_not_added_to_the_run() -> None:
    translator, reader = Translator(made()), MetricsReader()
    page = PAGE % 4
    more = page.replace(b'rank_kv_bytes_total{rank="0"} 7', b'rank_kv_bytes_total{rank="0"} 907')
    translator.row(0.0, {"prefill-0": Scraped(0.0, reader.read(page))}, {})
    values = translator.row(1.0, {"prefill-0": Scraped(1.0, reader.read(more))}, {})
    assert values["rank/prefill-0/0/kv_bytes_per_s"] == 900.0
    assert values.get("run/kv_bytes_per_s", 0.0) == 0.0
