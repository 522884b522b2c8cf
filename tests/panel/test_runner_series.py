from __future__ import annotations

import pytest
from pdpanel.panel.deployment import parse_deployment
from pdpanel.panel.host_facts import HostFacts
from pdpanel.panel.plan import RunIds, plan
from pdpanel.panel.runner.series import HostUse, Measured, Translator, known_series, parse_metrics
from prometheus_client.parser import text_string_to_metric_families

TEXT = r"""
# HELP sglang:num_running_reqs The number of running requests.
# TYPE sglang:num_running_reqs gauge
sglang:num_running_reqs{model_name="a \"b\" {c}\\",engine_type="decode",tp_rank="0"} 3.0
sglang:num_queue_reqs 2
# TYPE sglang:generation_tokens_total counter
sglang:generation_tokens_total{model_name="m"} 1.5e+03
sglang:generation_tokens_total{model_name="n"} 5.0
sglang:generation_tokens_created{model_name="m"} 1.7e+09
pdpanel_pages{pool="slot",state="free"} 90.0
pdpanel_pages{pool="slot",state="held"} 8.0
pdpanel_pages{pool="slot",state="quarantined"} 2.0
pdpanel_pages{pool="staging",state="held"} 4.0
pdpanel_pages{pool="staging",state="cached"} 30.0
pdpanel_kv_bytes_total{direction="sent",peer="127.0.0.1:30001"} 100.0
pdpanel_kv_bytes_total{direction="received",peer="127.0.0.1:30001"} 7.0
pdpanel_kv_bytes_total{direction="sent",peer="127.0.0.1:9"} 50.0
sglang:prompt_tokens_total NaN
other_metric 9
"""


def translator() -> Translator:
    deployment = parse_deployment({"model": "m", "prefill": {"count": 1}, "decode": {"count": 1}})
    return Translator(plan(deployment, HostFacts("n", 2, "py"), RunIds("r", "/r", "/c")))


def test_prometheus_text_is_read_as_the_reference_parser_reads_it() -> None:
    ours = {(line.name, tuple(sorted(line.labels.items()))): line.value for line in parse_metrics(TEXT)}
    reference = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(TEXT)
        for sample in family.samples
    }
    assert len(ours) == 12
    for key, value in ours.items():
        name, labels = key
        unescaped = tuple((label, text.replace(r"\"", '"').replace(r"\\", "\\")) for label, text in labels)
        assert reference[name, unescaped] == value


def test_gauges_are_taken_as_they_are() -> None:
    row = translator().row(0.0, {"decode-0": parse_metrics(TEXT)}, {"router": HostUse(1.0, 4096)})
    assert row == {
        "proc/decode-0/running": 3.0,
        "proc/decode-0/queued": 2.0,
        "proc/decode-0/slot_pages_used": 10.0,
        "proc/decode-0/staging_pages_used": 4.0,
        "proc/router/rss_bytes": 4096.0,
        "run/running": 3.0,
    }


def counted(generated: float, sent: float = 0.0) -> list[Measured]:
    return [
        Measured("sglang:generation_tokens_total", {}, generated),
        Measured("pdpanel_kv_bytes_total", {"direction": "sent", "peer": "127.0.0.1:30001"}, sent),
    ]


def test_counters_become_rates_and_links_get_the_peers_name() -> None:
    rows = translator()
    rows.row(10.0, {"prefill-0": counted(0, 1000), "decode-0": counted(100)}, {"decode-0": HostUse(1.0, 1)})
    row = rows.row(10.5, {"prefill-0": counted(1, 3000), "decode-0": counted(150)}, {"decode-0": HostUse(1.25, 1)})
    assert row["link/prefill-0>decode-0/kv_bytes_per_s"] == pytest.approx(4000)
    assert row["run/kv_bytes_per_s"] == pytest.approx(4000)
    assert row["proc/decode-0/generated_tokens_per_s"] == pytest.approx(100)
    assert row["proc/prefill-0/generated_tokens_per_s"] == pytest.approx(2)
    assert row["run/generated_tokens_per_s"] == pytest.approx(100)
    assert row["proc/decode-0/cpu_percent"] == pytest.approx(50)


def test_a_counter_that_went_down_makes_a_gap() -> None:
    rows = translator()
    rows.row(0.0, {"decode-0": counted(100)}, {})
    assert "run/generated_tokens_per_s" not in rows.row(1.0, {"decode-0": counted(10)}, {})
    assert rows.row(2.0, {"decode-0": counted(30)}, {})["run/generated_tokens_per_s"] == pytest.approx(20)


def test_a_worker_that_missed_a_look_is_measured_over_the_whole_time() -> None:
    rows = translator()
    rows.row(0.0, {"decode-0": counted(0)}, {})
    assert rows.row(1.0, {}, {}) == {}
    assert rows.row(2.0, {"decode-0": counted(40)}, {})["run/generated_tokens_per_s"] == pytest.approx(20)


def test_every_value_belongs_to_a_known_series() -> None:
    deployment = parse_deployment({"model": "m", "prefill": {"count": 1}, "decode": {"count": 1}})
    launch = plan(deployment, HostFacts("n", 2, "py"), RunIds("r", "/r", "/c"))
    known, rows = known_series(launch), Translator(launch)
    for t in (0.0, 1.0):
        metrics = {name: list(parse_metrics(TEXT)) for name in ("prefill-0", "decode-0")}
        row = rows.row(t, metrics, {"router": HostUse(t, 1)})
        assert set(row) <= set(known)
    assert all(info.key == key and info.unit and info.source for key, info in known.items())
