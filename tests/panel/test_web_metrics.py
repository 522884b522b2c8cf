"""The panel's own /metrics: parsed by the Prometheus client's parser, bounded, escaped, without secrets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from pdpanel.panel.web.app import build_api
from pdpanel.panel.web.exposition import FAMILIES, MOST_PROCESSES, MOST_RUNS, OwnFacts, metrics_text
from pdpanel.panel.web.port import DeployForm, HostTraffic, LinkTraffic, ProcessView, RunView
from prometheus_client.parser import text_string_to_metric_families
from simulated_source import SimulatedSource
from starlette.testclient import TestClient

OWN = OwnFacts("1.0", 3, 1.5, 1e8, 20, 1.7e9)
SECRET = "hf_" + "abcdefghij0123456789ABCD"
PROCESSES = (
    ProcessView("prefill-0", "prefill", "ready", cpu_percent=150.0, rss_bytes=1000, restarts=2),
    ProcessView("decode-0", "decode", "crashed"),
    ProcessView("router", "router", "ready"),
)
RUN = RunView("demo-1", "degraded", "pd", "m", "tcp", "http://x", 1.0, PROCESSES, (("prefill-0", "decode-0"),))
ROW = {
    "run/kv_bytes_per_s": 5e9,
    "link/prefill-0>decode-0/kv_bytes_per_s": 5e9,
    "run/generated_tokens_per_s": 120.5,
    "run/running": 7.0,
    "run/ttft_p50_s": 0.2,
    "run/ttft_p99_s": 0.9,
    "run/transfer_latency_p99_s": 0.05,
    "proc/decode-0/kv_usage_percent": 95.0,
}


def read(text: str) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Returns the values by name and labels, as Prometheus would read them."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            values = found.setdefault(sample.name, {})
            key = tuple(sorted(sample.labels.items()))
            assert key not in values, sample
            values[key] = sample.value
    return found


def test_page_says_what_the_panel_knows() -> None:
    traffic = HostTraffic(9.0, 2.0, {"mlx5_0:1": LinkTraffic(1.0, None, "sysfs", "no counter")})
    page = read(
        metrics_text(OWN, [RUN, replace(RUN, id="old", state="stopped")], {"demo-1": (8.0, ROW)}, traffic, 10.0)
    )
    run = ("run", "demo-1")
    assert page["pdpanel_runs"] == {(("state", "degraded"),): 1, (("state", "stopped"),): 1}
    assert page["pdpanel_processes"][("role", "decode"), ("state", "crashed")] == 1
    assert page["pdpanel_run_up"] == {(run,): 0}
    assert page["pdpanel_process_restarts_total"][("process", "prefill-0"), ("role", "prefill"), run] == 2
    assert page["pdpanel_process_cpu_ratio"][("process", "prefill-0"), ("role", "prefill"), run] == 1.5
    assert page["pdpanel_process_kv_usage_ratio"][("process", "decode-0"), ("role", "decode"), run] == 0.95
    link = (("decode", "decode-0"), ("prefill", "prefill-0"), run)
    assert page["pdpanel_link_kv_bytes_per_second"] == {link: 5e9}
    assert page["pdpanel_run_ttft_seconds"] == {
        (("quantile", "0.5"), run): 0.2,
        (("quantile", "0.99"), run): 0.9,
    }
    assert page["pdpanel_run_sample_age_seconds"] == {(run,): 2}
    assert page["pdpanel_host_link_bytes_per_second"] == {(("direction", "tx"), ("link", "mlx5_0:1")): 1}
    assert page["pdpanel_websockets"] == {(): 3}
    assert page["process_cpu_seconds_total"] == {(): 1.5}


def test_missing_data_is_missing() -> None:
    page = read(metrics_text(OwnFacts("1", 0), [RUN], {}, None, 10.0))
    assert not set(page) & {"pdpanel_run_kv_bytes_per_second", "process_open_fds", "pdpanel_run_sample_age_seconds"}
    odd = {"run/kv_bytes_per_s": float("nan"), "run/running": float("inf")}
    page = read(metrics_text(OWN, [RUN], {"demo-1": (8.0, odd)}, None, 10.0))
    assert "pdpanel_run_running_requests" not in page


def test_page_is_bounded() -> None:
    many = tuple(ProcessView(f"decode-{number}", "decode", "ready") for number in range(100))
    runs = [replace(RUN, id=f"demo-{number}", processes=many) for number in range(300)]
    page = read(metrics_text(OWN, runs, {}, None, 10.0))
    assert len(page["pdpanel_run_up"]) == MOST_RUNS
    assert len(page["pdpanel_process_up"]) <= MOST_PROCESSES
    assert sum(page["pdpanel_processes"].values()) == 30_000


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60))
def test_any_name_is_one_label(name: str) -> None:
    run = replace(RUN, id="demo-1", processes=(replace(PROCESSES[0], name=name),))
    text = metrics_text(OWN, [run], {}, None, 10.0)
    assert len(read(text)["pdpanel_process_up"]) == 1


def test_secrets_stay_out() -> None:
    run = replace(RUN, model=SECRET, notice=SECRET, processes=(replace(PROCESSES[0], name=f"a {SECRET}"),))
    assert SECRET not in metrics_text(OWN, [run], {"demo-1": (8.0, ROW)}, None, 10.0)


def test_route_tells_a_simulated_run(tmp_path: Path) -> None:
    source = SimulatedSource(tmp_path, "http://127.0.0.1:9")
    run = source.start(DeployForm("pd", "SmolLM2-135M-Instruct", 1, 2, "mooncake"))
    source.remember(run, 5)
    with TestClient(build_api(source)) as client:
        answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    page = read(answer.text)
    assert set(page) <= set(FAMILIES)
    assert len(page["pdpanel_process_up"]) == 4
    assert len(page["pdpanel_link_kv_bytes_per_second"]) == 2
