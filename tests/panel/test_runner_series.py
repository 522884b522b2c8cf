from __future__ import annotations

from pdpanel.panel.deployment import parse_deployment
from pdpanel.panel.host_facts import HostFacts
from pdpanel.panel.launch import LaunchPlan
from pdpanel.panel.plan import RunIds, plan
from pdpanel.panel.runner.series import LinkLimit, known_series, metrics_url, pairs


def launch(**more: object) -> LaunchPlan:
    deployment = parse_deployment({"model": "m", "prefill": {"count": 1}, "decode": {"count": 2}} | more)
    return plan(deployment, HostFacts("n", 2, "py"), RunIds("r", "/r", "/c"))


def test_every_series_says_what_it_is() -> None:
    known = known_series(launch(), [LinkLimit("nic/mlx5_0:1", 5e10), LinkLimit("netdev/lo", None)])
    assert all(info.key == key and info.title and info.unit and info.source for key, info in known.items())
    assert known["nic/mlx5_0:1/tx_bytes_per_s"].limit == 5e10
    assert known["netdev/lo/rx_bytes_per_s"].limit is None
    assert known["run/kv_bytes_per_s"].total
    assert known["proc/decode-1/transfer_queue"].group == "queues"
    assert "proc/prefill-0/transfer_queue" not in known


def test_each_link_has_a_series() -> None:
    assert pairs(launch()) == [("prefill-0", "decode-0"), ("prefill-0", "decode-1")]
    assert "link/prefill-0>decode-1/kv_bytes_per_s" in known_series(launch())


def test_the_bundled_router_is_asked_too() -> None:
    made = launch()
    router = next(spec for spec in made.processes if spec.name == "router")
    assert metrics_url(router, made) == f"{made.router_url.rstrip('/')}/metrics"
    assert "proc/router/running" in known_series(made)
