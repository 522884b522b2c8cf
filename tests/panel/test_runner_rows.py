from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import pytest
from pdpanel.panel.deployment import parse_deployment
from pdpanel.panel.host_facts import HostFacts
from pdpanel.panel.launch import LaunchPlan
from pdpanel.panel.plan import RunIds, plan
from pdpanel.panel.runner.rows import HostUse, Scraped, Translator
from pdpanel.panel.runner.series import known_series
from pdpanel.panel.telemetry.histogram import Histogram
from pdpanel.panel.telemetry.recognise import MetricsReader, Reading
from pdpanel.panel.telemetry.vocabulary import Measurement

PAGES = Path(__file__).parent / "telemetry" / "pages"


def launch(decode: int = 1) -> LaunchPlan:
    deployment = parse_deployment({"model": "m", "prefill": {"count": 1}, "decode": {"count": decode}})
    return plan(deployment, HostFacts("n", 2, "py"), RunIds("r", "/r", "/c"))


def page(at: float, engine: str = "pdpanel", **counters: float) -> Scraped:
    return Scraped(at, Reading(engine, Measurement({}, {(key, ""): value for key, value in counters.items()}, {})))


def sent(at: float, **peers: float) -> Scraped:
    counters = {("kv_bytes", f"127.0.0.1:{port.removeprefix('p')}"): value for port, value in peers.items()}
    return Scraped(at, Reading("pdpanel", Measurement({}, counters, {})))


def recorded(at: float, number: int, pattern: str, names: Mapping[str, str]) -> dict[str, Scraped]:
    return {
        name: Scraped(at, MetricsReader().read((PAGES / pattern.format(who, number)).read_bytes()))
        for name, who in names.items()
    }


def test_counters_become_rates_and_links_get_the_peers_name() -> None:
    rows = Translator(launch())
    port = next(spec.ports["http"] for spec in launch().processes if spec.name == "decode-0")
    rows.row(10.0, {"prefill-0": sent(10.0, **{f"p{port}": 1000.0, "p9": 5.0})}, {"decode-0": HostUse(1.0, 4096)})
    row = rows.row(10.5, {"prefill-0": sent(10.5, **{f"p{port}": 3000.0})}, {"decode-0": HostUse(1.25, 4096)})
    assert row["link/prefill-0>decode-0/kv_bytes_per_s"] == pytest.approx(4000)
    assert row["run/kv_bytes_per_s"] == pytest.approx(4000)
    assert row["proc/decode-0/cpu_percent"] == pytest.approx(50)
    assert row["proc/decode-0/rss_bytes"] == 4096


def test_the_first_transfer_of_a_link_has_a_rate() -> None:
    rows = Translator(launch())
    port = next(spec.ports["http"] for spec in launch().processes if spec.name == "decode-0")
    rows.row(0.0, {"prefill-0": page(0.0)}, {})
    row = rows.row(1.0, {"prefill-0": sent(1.0, **{f"p{port}": 700.0})}, {})
    assert row["link/prefill-0>decode-0/kv_bytes_per_s"] == pytest.approx(700)


def test_a_restart_and_a_missed_look_make_gaps_alone() -> None:
    rows = Translator(launch())
    rows.row(0.0, {"decode-0": page(0.0, generated_tokens=100)}, {})
    assert "run/generated_tokens_per_s" not in rows.row(1.0, {"decode-0": page(1.0, generated_tokens=10)}, {})
    assert rows.row(2.0, {}, {}) == {}
    row = rows.row(3.0, {"decode-0": page(3.0, generated_tokens=50)}, {})
    assert row["run/generated_tokens_per_s"] == pytest.approx(20)


def test_prefills_tokens_do_not_count_twice() -> None:
    rows = Translator(launch())
    for at, count in ((0.0, 0.0), (1.0, 8.0)):
        both = page(at, generated_tokens=count, prompt_tokens=count)
        row = rows.row(at, {"prefill-0": both, "decode-0": both}, {})
    assert (row["run/generated_tokens_per_s"], row["run/prompt_tokens_per_s"]) == (8.0, 8.0)


def test_the_router_counts_requests_where_there_is_one() -> None:
    rows = Translator(launch())
    for at, count in ((0.0, 0.0), (1.0, 4.0)):
        pages = {"router": page(at, requests=count, failed=count / 4), "decode-0": page(at, requests=9 * count)}
        row = rows.row(at, pages, {})
    assert (row["run/requests_per_s"], row["run/failed_per_s"]) == (4.0, 1.0)
    rows = Translator(launch())
    for at, count in ((0.0, 0.0), (1.0, 4.0)):
        row = rows.row(at, {"decode-0": page(at, requests=count)}, {})
    assert row["run/requests_per_s"] == 4.0


def test_bytes_of_an_engine_that_names_no_receiver() -> None:
    """With one receiver they belong to its link; with two nobody knows, and they are the sender's."""
    for decode, key in ((1, "link/prefill-0>decode-0"), (2, "proc/prefill-0")):
        rows = Translator(launch(decode))
        for at in (0.0, 1.0):
            row = rows.row(at, {"prefill-0": page(at, engine="SGLang", kv_sent_bytes=500 * at)}, {})
        assert row[f"{key}/kv_bytes_per_s"] == row["run/kv_bytes_per_s"] == 500


def test_where_the_router_saw_no_stream_the_workers_say_how_long_first_tokens_took() -> None:
    def look(at: float, streamed: float, computed: float) -> dict[str, Scraped]:
        def of(count: float, bound: float) -> Scraped:
            histogram = Histogram((bound, math.inf), (count, count), count)
            return Scraped(at, Reading("pdpanel", Measurement({}, {}, {"ttft": histogram})))

        return {"router": of(streamed, 0.4), "prefill-0": of(computed, 0.2)}

    rows = Translator(launch())
    rows.row(0.0, look(0.0, 0, 0), {})
    assert rows.row(1.0, look(1.0, 0, 6), {})["run/ttft_p50_s"] == pytest.approx(0.1)
    assert rows.row(9.0, look(9.0, 6, 12), {})["run/ttft_p50_s"] == pytest.approx(0.2)


def test_latency_is_that_of_the_last_seconds_and_nothing_observed_is_a_gap() -> None:
    def look(at: float, count: float) -> dict[str, Scraped]:
        histogram = Histogram((0.1, 0.2, math.inf), (0.0, count, count), count)
        return {"decode-0": Scraped(at, Reading("pdpanel", Measurement({}, {}, {"itl": histogram})))}

    rows = Translator(launch())
    assert "run/itl_p50_s" not in rows.row(0.0, look(0.0, 10), {})
    assert rows.row(1.0, look(1.0, 20), {})["run/itl_p50_s"] == pytest.approx(0.15)
    assert "run/itl_p50_s" not in rows.row(9.0, look(9.0, 20), {})


def test_a_routers_event_loop_is_late_by_the_mean_and_for_a_share_of_the_time() -> None:
    def look(at: float, count: float, late: float) -> dict[str, Scraped]:
        histogram = Histogram((0.005, 0.1, math.inf), (count - late, count, count), 0.08 * late)
        return {"router": Scraped(at, Reading("pdpanel's router", Measurement({}, {}, {"loop_lag": histogram})))}

    rows = Translator(launch())
    assert "proc/router/loop_lag_s" not in rows.row(0.0, look(0.0, 100, 0), {})
    row = rows.row(1.0, look(1.0, 120, 15), {})
    assert row["proc/router/loop_lag_s"] == pytest.approx(0.06)
    assert row["proc/router/loop_late_percent"] == pytest.approx(75)
    assert row.keys() <= known_series(launch()).keys()


@pytest.mark.parametrize(
    ("pattern", "names", "keys"),
    [
        (
            "bundled-{}-{}.txt",
            {"prefill-0": "prefill-0", "decode-0": "decode-0", "router": "router"},
            {"run/ttft_p50_s", "run/itl_p99_s", "run/e2e_p50_s", "run/transfer_latency_p99_s", "run/requests_per_s"},
        ),
        (
            "sglang-{}-{}.txt",
            {"prefill-0": "prefill", "decode-0": "decode"},
            {"run/ttft_p50_s", "run/itl_p99_s", "run/kv_bytes_per_s", "run/transfer_bytes_per_request"},
        ),
        (
            "vllm-{}-{}.txt",
            {"prefill-0": "prefill", "decode-0": "decode"},
            {"run/ttft_p50_s", "run/itl_p99_s", "run/kv_bytes_per_s", "run/transfer_latency_p50_s"},
        ),
    ],
)
def test_recorded_pages_fill_the_series(pattern: str, names: Mapping[str, str], keys: set[str]) -> None:
    rows, known = Translator(launch()), known_series(launch())
    seen: dict[str, float] = {}
    for number in (1, 2, 3):
        row = rows.row(float(number), recorded(float(number), number, pattern, names), {})
        assert row.keys() <= known.keys()
        seen |= row
    assert keys <= seen.keys()
    assert all(math.isfinite(value) and value >= 0 for value in seen.values())
    if pattern.startswith("sglang"):
        assert seen["run/kv_bytes_per_s"] == 512 << 20
        assert seen["run/transfer_bytes_per_request"] == pytest.approx(128 << 20)
