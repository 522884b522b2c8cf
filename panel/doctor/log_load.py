"""How loaded an engine was, from the batch lines in its log: which of prefill, decode and transfer held it back.

Pure. SGLang logs each prefill batch and every so many decode batches with the lengths of its queues. Called by `log`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ...nic_probe.checks.check import Rule
from ...nic_probe.finding import Evidence, Finding, Severity

__all__ = ["RULES", "EngineLoad"]

_FEWEST_LINES = 20
_MOST_OF_THE_TIME = 0.8
_FULL = 0.9

_BOUND = Rule(
    "log-bottleneck",
    "Which half of the pair holds requests back",
    "A pair of prefill and decode is as fast as its slower half. A prefill queue that is never empty asks for more "
    "prefill workers; a decode pool that is always full asks for more decode workers; requests that always wait for "
    "their KV ask for a faster link.",
    ("sgl-project/sglang#24488", "sgl-project/sglang#6411"),
)
_THROUGHPUT = Rule(
    "log-kv-throughput",
    "How fast KV travelled, by Mooncake's own count",
    "With MC_TE_METRIC=1 Mooncake logs the throughput of its transfers. Beside the rate of the link it shows whether "
    "KV can have gone over RDMA.",
    ("Mooncake documentation: metrics", "llm-d/llm-d#2370"),
)
RULES = (_BOUND, _THROUGHPUT)

_NUMBER = re.compile(r"(#?[a-z][a-z \-]{2,30}(?: \(token/s\))?): (\d{1,12}(?:\.\d{1,6})?)")
_RATE = re.compile(r"Throughput: (\d{1,9}(?:\.\d{1,6})?) ([KMGT]?B)/s")


class _Share:
    """How often a condition held."""

    def __init__(self) -> None:
        self.seen = 0
        self.held = 0

    def note(self, held: bool) -> None:
        self.seen += 1
        self.held += held

    @property
    def mostly(self) -> bool:
        return self.seen >= _FEWEST_LINES and self.held >= self.seen * _MOST_OF_THE_TIME

    def __str__(self) -> str:
        return f"{self.held} of {self.seen} batch lines"


class EngineLoad:
    """What the batch lines of one log add up to."""

    def __init__(self) -> None:
        self._queued = _Share()
        self._pool_full = _Share()
        self._not_granted = _Share()
        self._in_transfer = _Share()
        self._sending = _Share()
        self._fastest = ""
        self._fastest_rate = 0.0
        self._reports = 0

    def read(self, text: str) -> None:
        """Takes one clean line."""
        if "Prefill batch" in text:
            values = dict(_NUMBER.findall(text[:1024]))
            self._queued.note(_is_more(values.get("#queue-req"), 0))
            sending = values.get("#inflight-req") or values.get("#transferring-req")
            self._sending.note(_is_more(sending, 0) and not _is_more(values.get("#queue-req"), 0))
        elif "Decode batch" in text:
            values = dict(_NUMBER.findall(text[:1024]))
            self._pool_full.note(_is_more(values.get("token usage"), _FULL))
            self._not_granted.note(_is_more(values.get("#prealloc-req"), 0))
            self._in_transfer.note(_is_more(values.get("#transfer-req"), 0))
        elif "Transfer Engine Stats" in text and (match := _RATE.search(text[:1024])):
            self._reports += 1
            rate = float(match.group(1)) * 1000.0 ** "BKMGT".index(match.group(2)[0])
            if rate >= self._fastest_rate:
                self._fastest_rate, self._fastest = rate, f"{match.group(1)} {match.group(2)}/s"

    def findings(self, source: str) -> list[Finding]:
        """Returns the verdicts; none while there are too few lines to judge."""
        found: list[Finding] = []

        def bound(by: str, share: _Share, what: str, remedy: str) -> None:
            evidence = Evidence(source, f"{what} in {share}")
            found.append(_BOUND.finding(Severity.INFO, source, (evidence,), f"This worker was {by}-bound.", remedy))

        verdicts: tuple[tuple[Callable[[], bool], str, _Share, str, str], ...] = (
            (
                lambda: self._pool_full.mostly or self._not_granted.mostly,
                "decode",
                self._pool_full if self._pool_full.mostly else self._not_granted,
                "the KV pool was full or requests waited for pages",
                "Add decode workers (1P2D), give decode more KV memory, or lower --max-running-requests.",
            ),
            (
                lambda: self._in_transfer.mostly or self._sending.mostly,
                "transfer",
                self._in_transfer if self._in_transfer.mostly else self._sending,
                "requests waited for their KV to arrive",
                "Compare the KV throughput with the rate of the link, and prove that RDMA carries it.",
            ),
            (
                lambda: self._queued.mostly,
                "prefill",
                self._queued,
                "prompts waited to be computed",
                "Add prefill workers (2P1D), or raise --chunked-prefill-size.",
            ),
        )
        for holds, by, share, what, remedy in verdicts:
            if holds():
                bound(by, share, what, remedy)
                break
        if self._reports:
            found.append(
                _THROUGHPUT.finding(
                    Severity.INFO,
                    source,
                    (Evidence(source, f"{self._reports} reports, the fastest {self._fastest}"),),
                    f"Mooncake moved at most {self._fastest} in one interval.",
                    "Compare it with the rate of the NIC; far less with a full queue means TCP or one NIC of several.",
                )
            )
        return found


def _is_more(text: str | None, than: float) -> bool:
    return text is not None and float(text) > than
