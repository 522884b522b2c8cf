"""The findings about what cannot be read of a run: one rule for each, and the values that they are made of."""

from __future__ import annotations

from ...nic_probe.checks.check import Rule
from ...nic_probe.finding import Evidence, Finding, Severity

__all__ = ["RULES", "metrics_unreadable"]

_UNREADABLE = Rule(
    "metrics-unreadable",
    "Metrics of a process that cannot be read",
    "The charts of a run come from the processes' /metrics. When a page cannot be read (no answer in time, an error, "
    "HTML, a page without end, the metrics of a program that nobody knows) its series have gaps, and the rest goes on.",
    ("SGLang documentation: production metrics", "vLLM documentation: production metrics"),
)
RULES = (_UNREADABLE,)
"""What can be said here."""


def metrics_unreadable(process: str, url: str, problem: str) -> Finding:
    """Returns the finding that the page at `url` of `process` has no values.

    Args:
        process: whose page it is.
        url: where it was asked for.
        problem: what was wrong, in a few words, such as `answers with status 404`.
    """
    remedy = f"Open {url} and see what answers there."
    if "status 404" in problem:
        remedy = "Start the process with its metrics on; SGLang wants --enable-metrics for that."
    elif "status 401" in problem or "status 403" in problem:
        remedy = "Let /metrics be read without a key, or from this host."
    return _UNREADABLE.finding(
        Severity.WARNING,
        process,
        (Evidence(url, problem),),
        f"The metrics of {process} cannot be read: {problem}; its series have gaps.",
        remedy,
    )
