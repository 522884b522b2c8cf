"""What the bundled engine, its router and the panel's runner write: JSON lines, and one sentence for a bad start."""

from __future__ import annotations

from ....nic_probe.checks.check import Rule
from ....nic_probe.finding import Severity
from .signature import Signature, Speaker

__all__ = ["SIGNATURES"]

# A JSON string's inside; bounded, since lines are cut.
_TEXT = r"(?:[^\"\\\n]|\\.){0,400}"

SIGNATURES = (
    Signature(
        Rule(
            "log-bundled-transport",
            "The bundled engine uses another transport than was asked for",
            "When Mooncake cannot be imported or does not start, the worker takes plain TCP sockets and says why in "
            "its event `transport`.",
            ("docs/architecture.md",),
        ),
        Speaker.PDPANEL,
        Severity.WARNING,
        ('"event": "transport"',),
        r'"event": "transport", "requested": "(?P<requested>\w+)", "used": "(?P<used>\w+)", "notice": "(?P<notice>'
        + _TEXT
        + r'[^"\\])"',
        "Transport {used} is used where {requested} was asked for: {notice}",
        "Repair what the notice names, or ask for transport tcp.",
    ),
    Signature(
        Rule(
            "log-bundled-staging",
            "The KV of a GPU passes through the host's memory",
            "Only Mooncake's builds for GPUs read and write a GPU's memory. With another build or transport the worker "
            "copies KV pages through pinned memory of the host, which costs time to the first token, and says why in "
            "its event `staging`.",
            ("docs/gpu.md",),
        ),
        Speaker.PDPANEL,
        Severity.WARNING,
        ('"event": "staging"',),
        r'"event": "staging", "memory": "host", "reason": "(?P<reason>' + _TEXT + r'[^"\\])"',
        "{reason}",
        "Install the Mooncake build for this host's GPUs (mooncake-transfer-engine or -cuda13) in place of the other.",
    ),
    Signature(
        Rule(
            "log-bundled-misfit",
            "Two bundled workers do not fit each other",
            "At their first contact prefill and decode compare model, KV type, page size and shape, and refuse a "
            "peer that differs.",
            ("docs/architecture.md",),
        ),
        Speaker.PDPANEL,
        Severity.ERROR,
        ("the workers do not fit", "refused this worker", '"event": "peer_refused"'),
        r"The workers do not fit: (?P<why>[^\"\n]{1,200})|The peer refused this worker: (?P<why_2>[^\"\n]{1,200})|"
        r'"event": "peer_refused"[^\n]{0,200}"reason": "(?P<why_3>' + _TEXT + r')"',
        "Prefill and decode do not fit: {why}",
        "Start both with the same model, --page-size and --kv-cache-dtype.",
    ),
    Signature(
        Rule(
            "log-bundled-rank",
            "A rank of a bundled worker is gone",
            "All ranks of a worker compute every step together: when one of them is gone, the worker ends and its "
            "runner starts it again. With --elastic-ep-backend the others go on without it.",
            ("docs/parallel.md",),
        ),
        Speaker.PDPANEL,
        Severity.ERROR,
        ('"event": "fatal"', '"event": "rank_lost"'),
        r'"event": "(?:fatal|rank_lost)", (?:"rank": \d+, )?"reason": "(?P<reason>Rank \d+ ' + _TEXT + ')"',
        "{reason}",
        "After SIGKILL see dmesg | grep -i -E 'oom|killed process'; else read what that rank wrote before.",
    ),
    Signature(
        Rule(
            "log-bundled-fatal",
            "A bundled worker failed",
            "An error inside the step loop ends the worker, after every client was told.",
            ("docs/architecture.md",),
        ),
        Speaker.PDPANEL,
        Severity.ERROR,
        ('"event": "fatal"', '"event": "write_broke"'),
        r'"event": "fatal", "reason": "(?P<reason>' + _TEXT + r')"|"event": "write_broke"',
        "The worker failed: {reason}",
        "Send this log with a bug report; the runner restarts the worker.",
    ),
    Signature(
        Rule(
            "log-bundled-link",
            "A bundled worker could not open a link to a peer",
            "The peer's transport is another one, or its endpoint cannot be reached.",
            ("docs/architecture.md",),
        ),
        Speaker.PDPANEL,
        Severity.ERROR,
        ('"event": "link_failed"',),
        r'"event": "link_failed", "peer": "(?P<peer>[^"\n]{1,80})", "reason": "(?P<reason>' + _TEXT + r')"',
        "No link to {peer}: {reason}",
        "Start both halves with the same --disaggregation-transfer-backend.",
    ),
    Signature(
        Rule(
            "log-bundled-peer-lost",
            "A bundled worker lost its peer",
            "The connection between prefill and decode ended. When a run stops this is ordinary; else look at the "
            "peer's log.",
            ("docs/architecture.md",),
        ),
        Speaker.PDPANEL,
        Severity.WARNING,
        ('"event": "peer_lost"',),
        r'"event": "peer_lost", "peer": "(?P<peer>[^"\n]{1,80})", "reason": "(?P<reason>' + _TEXT + r')"',
        "The peer {peer} is gone: {reason}",
        "If nobody stopped it, look at the end of its log.",
    ),
    Signature(
        Rule(
            "log-bundled-grant",
            "Requests of the bundled engine got no KV pages in time",
            "Decode grants pages before prefill computes. It is full, did not get the request, or cannot reach "
            "prefill's bootstrap port.",
            ("docs/architecture.md",),
        ),
        Speaker.PDPANEL,
        Severity.ERROR,
        ("granted pages within", "grant ran out", "did not arrive within"),
        r"No decode worker granted pages within [\d.]+ s|Decode's grant ran out"
        r"|The KV cache did not arrive within [\d.]+ s",
        "A request's KV did not get from prefill to decode in time.",
        "Add decode workers or lower concurrency; SGLANG_DISAGGREGATION_BOOTSTRAP_TIMEOUT and _WAITING_TIMEOUT set "
        "the seconds.",
    ),
    Signature(
        Rule(
            "log-bundled-transfer",
            "A KV transfer of the bundled engine failed",
            "A write failed or timed out; the request is tried again with a fresh room.",
            ("measured with Mooncake 0.3.13",),
        ),
        Speaker.PDPANEL,
        Severity.ERROR,
        ("kv transfer failed", "mooncake's write to", "mooncake's peer", "mooncake's engine does not start"),
        r"KV transfer failed: (?P<why>[^\"\n]{1,200})|Mooncake's (?:write to|peer) (?P<why_2>\S{1,80})"
        r"|Mooncake's engine does not start",
        "A KV transfer failed: {why}",
        "See whether the peer lives and answers; its log says more.",
    ),
    Signature(
        Rule(
            "log-bundled-worker",
            "The bundled router doubts a worker",
            "A worker did not answer its health check, or broke an answer off. It gets no requests until it is well.",
            ("docs/architecture.md",),
        ),
        Speaker.PDPANEL,
        Severity.WARNING,
        ('"event": "worker"', '"event": "attempt failed"'),
        r'"event": "worker", "worker": "(?P<worker>[^"\n]{1,120})"[^\n]{0,80}"state": "(?:suspected'
        r'|unhealthy)", "was": "(?!starting)'
        r'|"event": "attempt failed"',
        "The router does not use worker {worker}, or a request failed on it.",
        "Look at that worker's log at the same time.",
    ),
    Signature(
        Rule(
            "log-bundled-start",
            "A bundled process refused its settings",
            "What cannot be used is refused before anything starts, in one sentence with the flag, the value and "
            "what to write instead.",
            ("docs/architecture.md",),
        ),
        Speaker.PDPANEL,
        Severity.ERROR,
        ("error: ",),
        r"^error: (?P<field>[^\n=]{1,60}) = [^\n]{0,200}?: (?P<problem>[^\n;]{1,300});"
        r" (?P<remedy>[^\n]{1,300})",
        "{field} cannot be used: {problem}.",
        "{remedy}",
    ),
)
