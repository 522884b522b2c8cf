"""SGLang's metrics by version; the bundled engine shares the names.

Sources: SGLang documentation: production metrics (0.4 to 0.5.23). Counters have `_total` since 0.4.1, a colon or, in
multi-process mode of some exporters, an underscore after the prefix. `num_prefill_prealloc_queue_reqs` was the name of
the bootstrap queue up to 0.5.2, `time_per_output_token_seconds` that of the inter-token latency up to 0.4.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .vocabulary import Fold, Kind, Term

__all__ = ["SGLANG_TERMS", "Sglang"]

_MIB = float(1 << 20)


def _named(*names: str) -> tuple[str, ...]:
    return tuple(f"sglang_{name}" for name in names)


SGLANG_TERMS: Sequence[Term] = (
    Term("running", Kind.GAUGE, _named("num_running_reqs")),
    Term("queued", Kind.GAUGE, _named("num_queue_reqs")),
    Term("bootstrap_queue", Kind.GAUGE, _named("num_prefill_bootstrap_queue_reqs", "num_prefill_prealloc_queue_reqs")),
    Term("inflight_queue", Kind.GAUGE, _named("num_prefill_inflight_queue_reqs", "num_prefill_infight_queue_reqs")),
    Term("prealloc_queue", Kind.GAUGE, _named("num_decode_prealloc_queue_reqs")),
    Term("transfer_queue", Kind.GAUGE, _named("num_decode_transfer_queue_reqs")),
    # The fullest rank is the one that holds up the others.
    Term("kv_usage_percent", Kind.GAUGE, _named("token_usage"), Fold.LARGEST, 100.0),
    Term("prompt_tokens", Kind.COUNTER, _named("prompt_tokens")),
    Term("generated_tokens", Kind.COUNTER, _named("generation_tokens")),
    Term("requests", Kind.COUNTER, _named("num_requests")),
    Term("failed", Kind.COUNTER, _named("num_aborted_requests", "num_transfer_failed_reqs")),
    Term("ttft", Kind.HISTOGRAM, _named("time_to_first_token_seconds")),
    Term("itl", Kind.HISTOGRAM, _named("inter_token_latency_seconds", "time_per_output_token_seconds")),
    Term("e2e", Kind.HISTOGRAM, _named("e2e_request_latency_seconds")),
    Term("transfer_latency", Kind.HISTOGRAM, _named("kv_transfer_latency_ms"), scale=1e-3),
    # Each rank sends its own share of a request's KV.
    Term("transfer_size", Kind.HISTOGRAM, _named("kv_transfer_total_mb"), Fold.SHARES, _MIB),
    Term("kv_sent_bytes", Kind.SUM, _named("kv_transfer_total_mb"), Fold.ALL, _MIB),
)
"""What a page of SGLang, or of the bundled engine's worker, says."""


@dataclass(frozen=True, slots=True)
class Sglang:
    """An SGLang server."""

    name: str = "SGLang"
    families: frozenset[str] = frozenset({"sglang"})
    # They appear with the first request of their kind.
    zero: frozenset[str] = frozenset({"prompt_tokens", "generated_tokens", "requests", "failed", "kv_sent_bytes"})
    terms: Sequence[Term] = SGLANG_TERMS
