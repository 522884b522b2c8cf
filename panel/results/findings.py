"""What is to be said of a file of results: requests that failed, a known error, a log that ends too early.

Pure. Called by `cli_results`; the rules are listed by the doctor.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ...nic_probe.checks.check import Rule
from ...nic_probe.finding import Evidence, Finding, Severity
from .bench_result import BenchResult, Dialect
from .observed import Observed

__all__ = ["RULES", "judge"]

_NONE = Rule(
    "results-none",
    "A log without a result",
    "A benchmark prints its result at its end. A log without one is that of a run that was ended before, of a client "
    "that could not reach the server, or of another program.",
    ("SGLang and vLLM source: serving benchmarks",),
)
_TRUNCATED = Rule(
    "results-truncated",
    "A run without its result, or with half of it",
    "A run that ends before its result leaves a hole in a sweep: the client failed, was ended by a time limit, or the "
    "log was cut. Points that are compared have to be there on both sides.",
    ("ROCm/MAD source: benchmark_xPyD.sh",),
)
_FAILED = Rule(
    "results-failed-requests",
    "Requests of a run failed",
    "Rates and latencies are those of the requests that succeeded. With fewer of them the server had less to do, so "
    "a run with failures is no measure of the load that it names. SGLang's client prints no failures: they are the "
    "difference to what was sent.",
    ("SGLang and vLLM source: serving benchmarks",),
)
_TRANSFER = Rule(
    "results-transfer-encoding",
    "Answers cut off at 512 and more requests at once (TransferEncodingError)",
    "With DeepSeek-V3 and Llama-3.1-405B on ROCm, SGLang's PD deployments end answers early at a concurrency of 512 "
    "and more: TransferEncodingError 400, Not enough data to satisfy transfer length header. Requests are dropped "
    "and throughput falls.",
    ("ROCm documentation: SGLang PD disaggregation",),
)
_NUMBER = Rule(
    "results-number",
    "A number that is not written as benchmarks write it",
    "Benchmarks print digits with a point for fractions. A text such as 1.234,56, or one that another process wrote "
    "into, may mean several numbers and is left out.",
)
RULES = (_NONE, _TRUNCATED, _FAILED, _TRANSFER, _NUMBER)

_KNOWN_FROM = 512
_KNOWN_MODELS = re.compile(r"deepseek[-_. ]?v3|llama.{0,12}405b", re.IGNORECASE)
_MOST_EVIDENCE = 20


def judge(observed: Observed) -> list[Finding]:
    """Returns what is to be said of one file, the gravest first."""
    if not observed.results:
        found = [_nothing(observed), *_transfer_errors(observed)]
    else:
        found = [
            *_failed_requests(observed),
            *_transfer_errors(observed),
            *_truncated(observed),
            *_refused(observed),
        ]
    order = (Severity.ERROR, Severity.WARNING, Severity.UNKNOWN, Severity.INFO)
    return sorted(found, key=lambda finding: order.index(finding.severity))


def _at(observed: Observed, line: int) -> str:
    return f"{observed.source}:{line}"


def _nothing(observed: Observed) -> Finding:
    evidence = [Evidence(_at(observed, run.line), f"{run.what} begins") for run in observed.unfinished]
    return _NONE.finding(
        Severity.ERROR,
        observed.source,
        evidence[:_MOST_EVIDENCE] or (Evidence(observed.source, f"{observed.lines} lines without a result"),),
        "No benchmark's result is in it.",
        "Name the log of a benchmark that ran to its end, or its result file.",
    )


def _failed_requests(observed: Observed) -> Iterable[Finding]:
    rows = [row for row in observed.results if row.requests_failed or row.requests_successful == 0]
    if not rows:
        return
    evidence = tuple(Evidence(_at(observed, row.line), _success(row)) for row in rows[:_MOST_EVIDENCE])
    nothing = any(row.requests_successful == 0 for row in rows)
    reason = "Not one request succeeded in a run." if nothing else "The numbers are those of fewer requests than asked."
    yield _FAILED.finding(
        Severity.ERROR if nothing else Severity.WARNING,
        observed.source,
        evidence,
        reason,
        "Look for the cause in the logs of the workers (`pdpanel doctor --log FILE`), and measure again.",
    )


def _success(row: BenchResult) -> str:
    of = "" if row.requests_total is None else f" of {row.requests_total}"
    at = "" if row.concurrency is None else f" at concurrency {row.concurrency}"
    return f"{row.requests_successful}{of} requests succeeded{at}"


def _transfer_errors(observed: Observed) -> Iterable[Finding]:
    errors = observed.transfer_errors
    if errors.count:
        yield _TRANSFER.finding(
            Severity.WARNING,
            observed.source,
            tuple(Evidence(_at(observed, line.number), line.text) for line in errors.first),
            _seen_reason(errors.count, sorted(errors.concurrencies)),
            "Keep concurrency below 512, and look into the workers' logs for what ended the requests.",
        )
        return
    rows = [row for row in observed.results if (row.concurrency or 0) >= _KNOWN_FROM and _may_be_sglang_pd(row)]
    doubtful = [row for row in rows if row.requests_failed or (row.requests_failed is None and _may_be_known(row))]
    if rows:
        yield _TRANSFER.finding(
            Severity.WARNING if doubtful else Severity.INFO,
            observed.source,
            tuple(Evidence(_at(observed, row.line), _success(row)) for row in (doubtful or rows)[:_MOST_EVIDENCE]),
            "From 512 requests at once on, SGLang on ROCm is known to cut answers off with DeepSeek-V3 and "
            "Llama-3.1-405B; " + ("requests may be missing here." if doubtful else "here it was not seen."),
            "Compare the successful requests with those that were sent." if doubtful else "",
        )


def _seen_reason(count: int, concurrencies: Sequence[int]) -> str:
    at = f" at concurrency {', '.join(map(str, concurrencies))}" if concurrencies else ""
    times = "once" if count == 1 else f"{count} times"
    return (
        f"Answers ended before their time, reported {times}{at}: requests were dropped, and throughput reads too low."
    )


def _may_be_sglang_pd(row: BenchResult) -> bool:
    return row.engine == "sglang" and row.dialect is not Dialect.SGLANG_ONE_BATCH


def _may_be_known(row: BenchResult) -> bool:
    return row.model is None or _KNOWN_MODELS.search(row.model) is not None


def _truncated(observed: Observed) -> Iterable[Finding]:
    lost, retried = [], []
    for run in observed.unfinished:
        again = any(run.is_same_point(row) for row in observed.results)
        text = f"{run.what} has no result" + (", a later try has" if again else "")
        (retried if again else lost).append(Evidence(_at(observed, run.line), text))
    lost += [Evidence(_at(observed, row.line), "the result is cut off") for row in observed.results if not row.complete]
    lost += [Evidence(_at(observed, line), "this is no whole JSON") for line in observed.broken]
    if lost:
        yield _TRUNCATED.finding(
            Severity.WARNING,
            observed.source,
            tuple(lost[:_MOST_EVIDENCE]),
            "Results are missing or end too early.",
            "Measure these points again, and compare what is on both sides alone.",
        )
    elif retried:
        yield _TRUNCATED.finding(
            Severity.INFO,
            observed.source,
            tuple(retried[:_MOST_EVIDENCE]),
            "A run was tried again and then gave a result.",
        )


def _refused(observed: Observed) -> Iterable[Finding]:
    if observed.refused:
        yield _NUMBER.finding(
            Severity.WARNING,
            observed.source,
            tuple(Evidence(_at(observed, line.number), line.text) for line in observed.refused),
            "These texts are not numbers as benchmarks write them and were left out.",
            "Give the file as the benchmark wrote it.",
        )
