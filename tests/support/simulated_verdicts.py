"""Verdicts for page tests: what the test sets, at first one of a run that prefill limits."""

from __future__ import annotations

from collections.abc import Mapping

from pdpanel.panel.verdict.plain import plain_verdict
from pdpanel.panel.verdict.values import Action, Limit, Seen, Suggestion, Verdict

__all__ = ["SimulatedVerdicts"]


class SimulatedVerdicts:
    """The `Verdicts` of a simulated source."""

    def __init__(self) -> None:
        sentence = "Prefill limits it: it computes 97% of the time, and 81% of the 8.0 requests in the run are there."
        evidence = (
            Seen("proc/prefill/queued", 6.5, "Requests at prefill, those that wait for it included", "requests", 8.0),
            Seen("proc/prefill/queued", 0.97, "Time in which prefill has a prompt to compute", "share", 1.0),
            Seen("run/ttft_p50_s", 0.412, "Time to the first token, median", "s"),
            Seen("run/kv_bytes_per_s", 3.5e6, "KV that is sent", "B/s"),
            Seen("proc/<b>prefill-0</b>/cpu_percent", 0.98, "CPU of <b>prefill-0</b>, in cores", "cores"),
        )
        suggestions = (
            Suggestion("Use 2P1D: up to 2.0 times the throughput.", Action.PLAN, {"prefill.count": 2}),
            Suggestion("Prove the transport: it may be another one than was asked for.", Action.PROOF),
            Suggestion("Give prefill a core of its own."),
        )
        self.verdict = Verdict(
            Limit.PREFILL, 0.9, sentence, evidence, suggestions, 1.68, {"prefill": 1.68, "decode": 1.1}, 19.5
        )

    def now(self, run_id: str) -> Mapping[str, object]:
        """Returns the verdict that was set."""
        return plain_verdict(self.verdict)
