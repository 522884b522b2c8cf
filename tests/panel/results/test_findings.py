from __future__ import annotations

from pdpanel.nic_probe.finding import Finding, Severity
from pdpanel.panel.results.findings import RULES, judge
from pdpanel.panel.results.parse import parse_results

from .excerpts import HEADING, SGLANG, TRANSFER_ERROR, VLLM, sglang_block

POINT = "RUNNING: prompts {prompts} isl 1024 osl 1024 con {con}\n"


def findings(text: str, name: str = "a.log") -> dict[str, Finding]:
    return {finding.id: finding for finding in judge(parse_results(text.encode(), name))}


def point(con: int, sent: int, successful: int, model: str = "") -> str:
    named = f"INFO: model={model} xP=1 yD=1 job=1 prompts={sent}\n" if model else ""
    return named + POINT.format(prompts=sent, con=con) + sglang_block(con, successful)


def test_ids_are_of_one_family() -> None:
    assert [rule.id for rule in RULES] == [
        "results-none",
        "results-truncated",
        "results-failed-requests",
        "results-transfer-encoding",
        "results-number",
    ]


def test_a_whole_run_has_nothing_to_remark() -> None:
    assert findings(SGLANG) == {}
    assert findings(point(64, 128, 128)) == {}


def test_a_log_without_a_result_is_an_error() -> None:
    finding = findings("hello\n")["results-none"]
    assert finding.severity is Severity.ERROR
    assert finding.evidence[0].value == "1 lines without a result"


def test_a_log_with_points_alone_names_them_once() -> None:
    found = findings(POINT.format(prompts=16, con=8) + POINT.format(prompts=32, con=16))
    assert list(found) == ["results-none"]
    assert [evidence.source for evidence in found["results-none"].evidence] == ["a.log:1", "a.log:2"]
    assert "16 requests at once" in found["results-none"].evidence[1].value


def test_failed_requests_are_a_warning() -> None:
    finding = findings(VLLM)["results-failed-requests"]
    assert finding.severity is Severity.WARNING
    assert finding.evidence[0].value == "998 of 1000 requests succeeded at concurrency 64"
    assert finding.evidence[0].source == "a.log:1"
    assert "results-failed-requests" in findings(point(8, 16, 15))


def test_not_one_success_is_an_error() -> None:
    assert findings(point(8, 16, 0))["results-failed-requests"].severity is Severity.ERROR
    assert findings(sglang_block(8, 0))["results-failed-requests"].severity is Severity.ERROR


def test_the_transfer_error_is_a_warning_with_its_concurrency() -> None:
    log = point(8, 16, 16) + POINT.format(prompts=1024, con=512) + TRANSFER_ERROR + "\n" + sglang_block(512, 1001)
    finding = findings(log)["results-transfer-encoding"]
    assert finding.severity is Severity.WARNING
    assert "once at concurrency 512" in finding.reason
    assert finding.evidence[0].source == "a.log:12"
    assert "Not enough data" in finding.evidence[0].value


def test_the_transfer_error_is_reported_of_a_log_without_results_too() -> None:
    found = findings(POINT.format(prompts=1024, con=512) + f"{TRANSFER_ERROR}\n" * 3)
    assert list(found) == ["results-none", "results-transfer-encoding"]
    assert "3 times at concurrency 512" in found["results-transfer-encoding"].reason


def test_from_512_on_the_known_models_are_warned_of() -> None:
    for model in ("DeepSeek-V3", "deepseek-ai/DeepSeek-V3", "Llama-3.1-405B-Instruct-FP8-KV"):
        log = f"[RUNNING] prompts  isl 1 osl 1 con 512 model {model} xP=1 yD=1\n" + sglang_block(512, 1024)
        assert findings(log)["results-transfer-encoding"].severity is Severity.WARNING
    assert findings(sglang_block(512, 1024))["results-transfer-encoding"].severity is Severity.WARNING


def test_from_512_on_a_whole_run_or_another_model_is_information() -> None:
    assert findings(point(512, 1024, 1024, "DeepSeek-V3"))["results-transfer-encoding"].severity is Severity.INFO
    other = "[RUNNING] prompts  isl 1 osl 1 con 1024 model Qwen3-32B xP=1 yD=1\n" + sglang_block(1024, 2048)
    assert findings(other)["results-transfer-encoding"].severity is Severity.INFO
    failed = findings(point(512, 1024, 1000, "Qwen3-32B"))
    assert failed["results-transfer-encoding"].severity is Severity.WARNING


def test_below_512_and_with_another_engine_nothing_is_said_of_it() -> None:
    assert "results-transfer-encoding" not in findings(point(511, 1022, 1000, "DeepSeek-V3"))
    assert "results-transfer-encoding" not in findings(VLLM.replace(" 64 ", " 512 "))


def test_a_cut_result_and_a_missing_one_are_truncated() -> None:
    cut = findings(SGLANG[: SGLANG.index("P99 TTFT")])["results-truncated"]
    assert (cut.severity, cut.evidence[0].source) == (Severity.WARNING, "a.log:2")
    missing = findings(point(8, 16, 16) + POINT.format(prompts=32, con=16))["results-truncated"]
    assert "16 requests at once" in missing.evidence[0].value
    assert "results-truncated" in findings(SGLANG + f"{HEADING}\n")


def test_a_point_that_was_tried_again_is_information() -> None:
    finding = findings(POINT.format(prompts=16, con=8) + point(8, 16, 16))["results-truncated"]
    assert finding.severity is Severity.INFO
    assert "a later try has" in finding.evidence[0].value


def test_broken_lines_of_a_result_file_are_truncated() -> None:
    line = '{"request_throughput": 1.0, "total_token_throughput": 2.0}\n'
    finding = findings(line + line[:20])["results-truncated"]
    assert [evidence.source for evidence in finding.evidence] == ["a.log:2"]


def test_a_refused_number_is_named() -> None:
    finding = findings(SGLANG.replace("241.10", "1.241,10"))["results-number"]
    assert finding.severity is Severity.WARNING
    assert finding.evidence[0].value == "mean ttft (ms): 1.241,10"


def test_the_gravest_comes_first() -> None:
    log = point(8, 16, 0) + SGLANG[: SGLANG.index("P99 TTFT")]
    assert [finding.severity for finding in judge(parse_results(log.encode(), "a"))] == [
        Severity.ERROR,
        Severity.WARNING,
    ]
