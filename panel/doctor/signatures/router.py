"""What routers say when no worker can take a request."""

from __future__ import annotations

from ....nic_probe.checks.check import Rule
from ....nic_probe.finding import Severity
from .signature import Signature, Speaker

__all__ = ["SIGNATURES"]

SIGNATURES = (
    Signature(
        Rule(
            "log-no-worker",
            "The router has no worker for a role",
            "sglang-router says that it is healthy before its workers are, and its circuit breakers open when the "
            "first requests meet a prefill worker that still loads. Then every request fails for a minute.",
            (
                "sgl-project/sglang#33740",
                "sgl-project/sglang#12248",
                "sgl-project/sglang#8557",
                "sgl-project/sglang#12355",
            ),
        ),
        Speaker.ROUTER,
        Severity.ERROR,
        ("no available", "failed to select", "worker is healthy"),
        r"No available (?P<role>prefill|decode)?\s?workers|No available servers"
        r"|Failed to select (?:PD pair|worker pair|\w+ worker)"
        r"|No (?P<role_2>\w{1,20}) worker is healthy",
        "The router has no usable worker (role: {role}).",
        "Wait until every worker answers a real request before sending load; "
        "see which worker is not up, and lower --cb-timeout-duration-secs.",
    ),
    Signature(
        Rule(
            "log-router-startup",
            "The router gave up waiting for its workers",
            "The router waits --worker-startup-timeout-secs (1800) for its workers. A wrong URL, a worker that "
            "listens on 127.0.0.1 of another host, or a model that loads too slowly ends it.",
            ("sgl-project/sglang#33740",),
        ),
        Speaker.ROUTER,
        Severity.ERROR,
        ("timeout", "timed out", "not become healthy"),
        r"(?:timeout|timed out)[^\n]{0,40}waiting for (?:workers?|servers?)|did not become healthy",
        "The router's workers did not become ready in time.",
        "See whether the router's URLs reach the workers: curl URL/health from the router's host.",
    ),
    Signature(
        Rule(
            "log-circuit-open",
            "A circuit breaker of the router opened",
            "After --cb-failure-threshold failures the router sends a worker nothing for a while, also when the "
            "failures were the requests' own fault (4xx).",
            ("sgl-project/sglang#13894", "sgl-project/sglang#25811"),
        ),
        Speaker.ROUTER,
        Severity.WARNING,
        ("circuit",),
        r"circuit[ _-]?breaker[^\n]{0,120}(?:-> ?open|to open|opened|state=open)|circuit[^\n]{0,40}\bopened\b",
        "The router stopped using a worker after failures.",
        "Look into that worker's log for the failures.",
    ),
)
