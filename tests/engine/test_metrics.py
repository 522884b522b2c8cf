"""What a scraper reads from a worker."""

from __future__ import annotations

import pytest
from pdpanel.engine.metrics import EngineMetrics
from pdpanel.engine.statistics import EngineStatistics, PoolStatistics
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(metrics: EngineMetrics) -> Series:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    }


def value(metrics: EngineMetrics, name: str, **labels: str) -> float:
    found = [
        number for (series, have), number in scrape(metrics).items() if series == name and set(labels.items()) <= have
    ]
    assert len(found) == 1, (name, labels, found)
    return found[0]


@pytest.fixture
def metrics() -> EngineMetrics:
    return EngineMetrics(CollectorRegistry(), "tiny", "prefill")


def test_counters_carry_sglang_names_and_labels(metrics: EngineMetrics) -> None:
    metrics.tokens(prompt=7, cached=4)
    metrics.tokens(prompt=2)
    metrics.tokens(generated=1)
    metrics.tokens(generated=2)
    metrics.request_started()
    metrics.request_aborted()
    labels = {"model_name": "tiny", "engine_type": "prefill", "tp_rank": "0"}
    assert value(metrics, "sglang:prompt_tokens_total", **labels) == 9
    assert value(metrics, "sglang:cached_tokens_total", cache_source="device", **labels) == 4
    assert value(metrics, "sglang:generation_tokens_total", **labels) == 3
    assert value(metrics, "sglang:num_requests_total", **labels) == 1
    assert value(metrics, "sglang:num_aborted_requests_total", **labels) == 1


def test_a_transfer_is_counted_on_both_sides_and_timed_on_prefill(metrics: EngineMetrics) -> None:
    peer = "10.0.0.2:30001"
    metrics.kv_moved(direction="sent", peer=peer, size=1 << 29, pages=10, writes=1)
    metrics.kv_moved(direction="sent", peer=peer, size=1 << 29, pages=30, writes=2)
    metrics.transfer_ended(direction="sent", peer=peer, size=1 << 30, seconds=0.5, ok=True)
    metrics.kv_moved(direction="received", peer=peer, size=10, pages=2, writes=1)
    metrics.transfer_ended(direction="received", peer=peer, size=10, seconds=0.5, ok=True)
    assert value(metrics, "pdpanel_kv_bytes_total", direction="sent", peer="10.0.0.2:30001") == 1 << 30
    assert value(metrics, "pdpanel_kv_bytes_total", direction="received", peer="10.0.0.2:30001") == 10
    assert value(metrics, "pdpanel_kv_pages_total", direction="sent") == 40
    assert value(metrics, "pdpanel_kv_writes_total", direction="sent", peer=peer) == 3
    assert value(metrics, "pdpanel_kv_transfers_total", direction="sent", outcome="ok") == 1
    assert value(metrics, "sglang:kv_transfer_speed_gb_s_sum") == pytest.approx(2)
    assert value(metrics, "sglang:kv_transfer_latency_ms_sum") == pytest.approx(500)
    assert value(metrics, "sglang:kv_transfer_total_mb_sum") == pytest.approx(1024)
    assert value(metrics, "sglang:kv_transfer_total_mb_count") == 1


def test_what_the_kv_adds_to_the_second_token_is_told(metrics: EngineMetrics) -> None:
    for seconds in (0.02, 0.04):
        metrics.kv_waited(seconds)
    assert value(metrics, "pdpanel_kv_wait_seconds_count") == 2
    assert value(metrics, "pdpanel_kv_wait_seconds_sum") == pytest.approx(0.06)


def test_a_failed_transfer_is_no_speed(metrics: EngineMetrics) -> None:
    metrics.transfer_ended(direction="sent", peer="p:1", size=5, seconds=9.0, ok=False)
    assert value(metrics, "pdpanel_kv_transfers_total", outcome="failed") == 1
    assert value(metrics, "sglang:num_transfer_failed_reqs_total") == 1
    assert value(metrics, "sglang:kv_transfer_speed_gb_s_count") == 0


def test_a_transfer_of_no_time_has_no_speed(metrics: EngineMetrics) -> None:
    metrics.transfer_ended(direction="sent", peer="p:1", size=5, seconds=0.0, ok=True)
    assert value(metrics, "sglang:kv_transfer_speed_gb_s_count") == 0
    assert value(metrics, "sglang:kv_transfer_latency_ms_count") == 1


def test_latencies_fall_into_their_histograms(metrics: EngineMetrics) -> None:
    metrics.first_token(0.3)
    metrics.inter_token(0.004)
    metrics.request_finished(12.0)
    assert value(metrics, "sglang:time_to_first_token_seconds_bucket", le="0.4") == 1
    assert value(metrics, "sglang:time_to_first_token_seconds_bucket", le="0.2") == 0
    assert value(metrics, "sglang:inter_token_latency_seconds_bucket", le="0.004") == 1
    assert value(metrics, "sglang:e2e_request_latency_seconds_sum") == 12


def test_statistics_become_gauges(metrics: EngineMetrics) -> None:
    metrics.set_statistics(
        EngineStatistics(
            running=2,
            queued=3,
            bootstrap_queue=4,
            inflight_queue=5,
            prealloc_queue=6,
            transfer_queue=7,
            used_tokens=32,
            max_total_tokens=128,
            gen_throughput=9.5,
            slot=PoolStatistics(8, 6, 2, 0),
            cache_hit_rate=0.75,
            staging=PoolStatistics(9, 1, 2, 1, 5),
        )
    )
    expected = {
        "num_running_reqs": 2,
        "num_queue_reqs": 3,
        "num_prefill_bootstrap_queue_reqs": 4,
        "num_prefill_inflight_queue_reqs": 5,
        "num_decode_prealloc_queue_reqs": 6,
        "num_decode_transfer_queue_reqs": 7,
        "num_used_tokens": 32,
        "max_total_num_tokens": 128,
        "token_usage": 0.25,
        "gen_throughput": 9.5,
        "cache_hit_rate": 0.75,
    }
    assert {name: value(metrics, f"sglang:{name}") for name in expected} == expected
    assert value(metrics, "pdpanel_pages", pool="staging", state="quarantined") == 1
    assert value(metrics, "pdpanel_pages", pool="slot", state="free") == 6
    states = ("free", "held", "quarantined", "cached")
    assert [value(metrics, "pdpanel_pages", pool="staging", state=state) for state in states] == [1, 2, 1, 5]


def test_a_unified_worker_has_no_staging_pool() -> None:
    metrics = EngineMetrics(CollectorRegistry(), "tiny", "unified")
    metrics.set_statistics(EngineStatistics(slot=PoolStatistics(1, 1, 0, 0)))
    assert not [labels for name, labels in scrape(metrics) if name == "pdpanel_pages" and ("pool", "staging") in labels]


def test_two_workers_in_one_process_do_not_meet_and_names_are_escaped() -> None:
    first, second = (EngineMetrics(CollectorRegistry(), 'a"b\nc', "decode") for _ in range(2))
    first.request_started()
    assert value(first, "sglang:num_requests_total", model_name='a"b\nc') == 1
    assert value(second, "sglang:num_requests_total") == 0
    assert not [name for name, _ in scrape(first) if name.startswith(("process_", "python_"))]


def test_what_went_wrong_is_counted_from_the_workers_own_totals(metrics: EngineMetrics) -> None:
    assert value(metrics, "pdpanel_integrity_errors_total") == 0
    for stale in (2, 2, 5):
        metrics.set_statistics(EngineStatistics(stale_messages=stale, integrity_errors=1))
    assert value(metrics, "pdpanel_stale_messages_total") == 5
    assert value(metrics, "pdpanel_integrity_errors_total") == 1
    metrics.fence_lifted("lease")
    assert value(metrics, "pdpanel_fences_lifted_total", why="lease") == 1
    assert value(metrics, "pdpanel_fences_lifted_total", why="dead") == 0


def test_attention_groups_have_series_of_their_own() -> None:
    metrics = EngineMetrics(CollectorRegistry(), "tiny", "decode", groups=2)
    pools = PoolStatistics(8, 5, 3, 0), PoolStatistics(8, 7, 1, 0)
    each = tuple(EngineStatistics(running=n, slot=pool, staging=pool) for n, pool in enumerate(pools))
    metrics.set_statistics(EngineStatistics(running=1, groups=each))
    assert [value(metrics, "sglang:num_running_reqs", dp_rank=rank) for rank in "01"] == [0, 1]
    held = {"pool": "staging", "state": "held"}
    assert [value(metrics, "pdpanel_pages", dp_rank=rank, **held) for rank in "01"] == [3, 1]
