from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pdpanel.engine.router.app import Router
from pdpanel.engine.router.arguments import parse_router_arguments
from pdpanel.panel.telemetry.recognise import VOCABULARIES, MetricsReader
from pdpanel.panel.telemetry.vocabulary import Measurement
from prometheus_client.parser import text_string_to_metric_families

PAGES = Path(__file__).parent / "pages"


def said(name: str) -> Measurement:
    reading = MetricsReader().read((PAGES / name).read_bytes())
    assert not reading.problem
    return reading.measurement


@pytest.mark.parametrize(
    ("page", "engine"),
    [
        ("bundled-prefill-0-2.txt", "pdpanel"),
        ("bundled-decode-0-2.txt", "pdpanel"),
        ("bundled-router-2.txt", "pdpanel's router"),
        ("sglang-router-2.txt", "sglang-router"),
        ("smg-2.txt", "sglang-router"),
        ("mooncake-master-1.txt", "Mooncake master"),
        ("sglang-decode-1.txt", "SGLang"),
        ("vllm-decode-1.txt", "vLLM"),
        ("vllm-old-unified-1.txt", "vLLM"),
    ],
)
def test_a_page_tells_whose_it_is(page: str, engine: str) -> None:
    assert MetricsReader().read((PAGES / page).read_bytes()).engine == engine


def test_ranks_of_one_model_count_once_and_the_fullest_one_counts() -> None:
    """Two tensor parallel ranks show the same requests; each sends its own share of the KV."""
    first = said("sglang-prefill-1.txt")
    assert first.gauges["running", ""] == 3
    assert first.gauges["kv_usage_percent", ""] == pytest.approx(25)
    assert first.histograms["transfer_latency"].count == 4
    assert first.counters["kv_sent_bytes", ""] == 512 * (1 << 20)
    assert first.histograms["transfer_latency"].quantile(0.5) == pytest.approx(0.005 + 0.005 * 2 / 3)


def test_engines_of_vllm_add_up() -> None:
    first = said("vllm-prefill-1.txt")
    assert (first.gauges["running", ""], first.gauges["queued", ""]) == (4, 2)
    assert first.gauges["kv_usage_percent", ""] == pytest.approx(15)
    assert first.counters["kv_sent_bytes", ""] == 2 * 3 * (100 << 20)
    assert (first.counters["requests", ""], first.counters["failed", ""]) == (6, 0)


def test_older_names_of_vllm_are_known() -> None:
    old = said("vllm-old-unified-1.txt")
    assert old.gauges["kv_usage_percent", ""] == pytest.approx(10)
    assert old.histograms["itl"].count == 200


def test_recorded_pages_of_the_bundled_pair_agree() -> None:
    """What prefill has sent is split by the worker that received it."""
    sent = said("bundled-prefill-0-2.txt")
    peers = {split: value for (quantity, split), value in sent.counters.items() if quantity == "kv_bytes"}
    assert len(peers) == 1
    assert sum(peers.values()) == sent.counters["kv_sent_bytes", ""] > 1 << 20
    assert said("bundled-decode-0-2.txt").gauges["running", ""] == 2
    assert said("bundled-router-2.txt").gauges["running", ""] == 3


def test_how_late_the_event_loop_of_the_bundled_router_is() -> None:
    """The bound above which the panel calls it late is one of the router's."""
    config = parse_router_arguments(["--worker-urls", "http://127.0.0.1:9"])
    router = Router(config, random.Random(0), port=1)
    router.loop_lag.beat(time.monotonic() + 1)
    lag = MetricsReader().read(router.metrics.text()).measurement.histograms["loop_lag"]
    assert lag.count >= 9 and lag.mean() == pytest.approx(0.45, rel=0.2)
    share = lag.share_above(0.005)
    assert share is not None and share > 0.8


@pytest.mark.parametrize("page", sorted(path.name for path in PAGES.glob("*.txt")))
def test_every_line_is_read_as_the_reference_parser_reads_it(page: str) -> None:
    text = (PAGES / page).read_text()
    wanted = {name for one in VOCABULARIES for term in one.terms for name in term.names}
    reader = MetricsReader()
    ours = {
        (family, sample.part, tuple(sorted(sample.labels.values.items()))): sample.value
        for family, samples in reader._pages.read(text.encode()).families.items()
        for sample in samples
    }
    theirs: dict[object, float] = {}
    for found in text_string_to_metric_families(text):
        family = found.name.replace(":", "_").removesuffix("_total")
        if family in wanted:
            for sample in found.samples:
                part = sample.name.replace(":", "_").removeprefix(family).removeprefix("_")
                if part in {"", "total", "bucket", "sum", "count"}:
                    key = (family, part.replace("total", ""), tuple(sorted(sample.labels.items())))
                    theirs[key] = sample.value
    assert ours == theirs


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html><body>{not_a_metric 3}</body></html>", "is HTML"),
        (b"\x00\xff\xfe" * 1000, "holds no metrics"),
        (b"# TYPE nobody_knows gauge\nnobody_knows 3\n", "holds metrics of no known engine (nobody)"),
    ],
)
def test_what_is_no_page_of_an_engine_says_so(text: bytes, problem: str) -> None:
    assert MetricsReader().read(text).problem == problem


@pytest.mark.parametrize("number", ["NaN", "1e400", "-inf", "-5", "0x10", "", "9" * 400])
def test_what_is_no_number_is_a_gap(number: str) -> None:
    text = f"# TYPE sglang:num_running_reqs gauge\nsglang:num_running_reqs {number}\nsglang:num_queue_reqs 2\n"
    text += "# TYPE sglang:num_queue_reqs gauge\nsglang:num_queue_reqs 2\n"
    reading = MetricsReader().read(text.encode())
    expected = {("queued", ""): 2.0}
    assert reading.measurement.gauges == expected


def test_with_and_without_total_and_colon_is_the_same() -> None:
    def tokens(name: str, family: str) -> float:
        text = f"# TYPE {family} counter\n{name} 7\n".encode()
        return MetricsReader().read(text).measurement.counters["prompt_tokens", ""]

    for prefix in ("sglang:", "sglang_"):
        for name in ("prompt_tokens_total", "prompt_tokens"):
            assert tokens(prefix + name, prefix + name) == 7
        assert tokens(f"{prefix}prompt_tokens_total", f"{prefix}prompt_tokens") == 7


def test_the_sum_over_priorities_counts_once() -> None:
    lines = ['{priority=""} 5', '{priority="1"} 2', '{priority="2"} 3']
    text = "# TYPE sglang:num_running_reqs gauge\n" + "".join(f"sglang:num_running_reqs{line}\n" for line in lines)
    assert MetricsReader().read(text.encode()).measurement.gauges["running", ""] == 5


def test_hostile_labels_stay_values() -> None:
    label = r'peer="127.0.0.1:1\"} 9\nx{y=\"",direction="sent"'
    text = f"# TYPE pdpanel_kv_bytes counter\npdpanel_kv_bytes_total{{{label}}} 3\n"
    assert MetricsReader().read(text.encode()).measurement.counters == {
        ("kv_bytes", '127.0.0.1:1"} 9\nx{y="'): 3.0,
    }


@pytest.mark.parametrize(
    "piece",
    [
        b"# TYPE a gauge\n",
        b'sglang:num_running_reqs{x="',
        b'sglang:num_running_reqs{x="\\"',
        b'# TYPE sglang:num_running_reqs gauge\nsglang:num_running_reqs{a="b",',
        b"<p>nothing</p>\n",
        bytes(range(256)),
    ],
)
def test_a_long_hostile_page_comes_to_an_end_without_values(piece: bytes) -> None:
    """Were the work more than its length, this would take hours."""
    said = MetricsReader().read(piece * ((2 << 20) // len(piece))).measurement
    assert (said.gauges, said.histograms) == ({}, {})


@settings(deadline=None)
@given(st.binary(max_size=400), st.sampled_from([b"", b"# TYPE sglang:num_running_reqs gauge\n"]))
def test_whatever_a_page_holds_values_are_finite_and_not_negative(text: bytes, head: bytes) -> None:
    said = MetricsReader().read(head + b"sglang:num_running_reqs" + text).measurement
    assert all(0 <= value < float("inf") for value in (*said.gauges.values(), *said.counters.values()))
