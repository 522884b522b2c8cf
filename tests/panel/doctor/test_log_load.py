from __future__ import annotations

from collections.abc import Callable, Iterable

from pdpanel.nic_probe.finding import Finding, Severity
from pdpanel.panel.doctor.log import explain_log

Table = Callable[[Iterable[Finding]], dict[str, Finding]]


def prefill(queue: int, inflight: int = 0) -> str:
    return (
        f"[2026-01-01 00:00:00 TP0] Prefill batch, #new-seq: 1, #new-token: 6, #cached-token: 0, token usage: 0.00, "
        f"#running-req: 0, #queue-req: {queue}, #pending-token: 0, #bootstrap-req: 0, #inflight-req: {inflight}, "
        f"cuda graph: True, input throughput (token/s): 0.37"
    )


def decode(usage: float, prealloc: int = 0, transfer: int = 0) -> str:
    return (
        f"[2026-01-01 00:00:00 TP0] Decode batch, #running-req: 5, #token: 234, token usage: {usage:.2f}, "
        f"pre-allocated usage: 0.00, #prealloc-req: {prealloc}, #transfer-req: {transfer}, #retracted-req: 0, "
        f"cuda graph: True, gen throughput (token/s): 120.00, #queue-req: 0"
    )


def verdict(lines: Iterable[str], by_id: Table) -> str:
    finding = by_id(explain_log(lines, "x").findings).get("log-bottleneck")
    if finding is None:
        return ""
    assert finding.severity is Severity.INFO
    return finding.reason


def test_a_queue_that_is_never_empty_is_prefill_bound(by_id: Table) -> None:
    assert "prefill-bound" in verdict([prefill(8)] * 30, by_id)


def test_a_pool_that_is_always_full_is_decode_bound(by_id: Table) -> None:
    assert "decode-bound" in verdict([decode(0.97)] * 30, by_id)


def test_requests_that_wait_for_pages_are_decode_bound(by_id: Table) -> None:
    assert "decode-bound" in verdict([decode(0.5, prealloc=4)] * 30, by_id)


def test_requests_that_wait_for_their_kv_are_transfer_bound(by_id: Table) -> None:
    assert "transfer-bound" in verdict([decode(0.2, transfer=4)] * 30, by_id)
    assert "transfer-bound" in verdict([prefill(0, inflight=4)] * 30, by_id)


def test_an_easy_load_is_bound_by_nothing(by_id: Table) -> None:
    assert verdict([prefill(0), decode(0.2)] * 30, by_id) == ""


def test_a_few_lines_are_no_verdict(by_id: Table) -> None:
    assert verdict([prefill(8)] * 5, by_id) == ""


def test_mooncake_reports_are_summed_up(by_id: Table) -> None:
    lines = [
        "I1121 05:05:38.07 1 x.cpp:1] [Metrics] Transfer Engine Stats (over last 5s): Throughput: 1234.56 MB/s | "
        "Latency Distribution (count=3): 0-10us:12.3%",
        "I1121 05:05:43.07 1 x.cpp:1] [Metrics] Transfer Engine Stats (over last 5s): Throughput: 21.00 GB/s",
        "I1121 05:05:48.07 1 x.cpp:1] [Metrics] Transfer Engine Stats (over last 5s): Latency Distribution (count=3): "
        "x",
    ]
    finding = by_id(explain_log(lines, "x").findings)["log-kv-throughput"]
    assert "2 reports, the fastest 21.00 GB/s" in finding.evidence[0].value
