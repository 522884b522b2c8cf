"""vLLM V1's metrics by version.

Sources: vLLM documentation: metrics design (V1), 0.8 to 0.33. `gpu_cache_usage_perc` became `kv_cache_usage_perc` in
0.10, `time_per_output_token_seconds` became `inter_token_latency_seconds` in 0.11. Bytes and time of a transfer are
observed by the prefill side, through Mooncake or NIXL.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .vocabulary import Fold, Kind, Term

__all__ = ["Vllm"]


def _named(*names: str) -> tuple[str, ...]:
    return tuple(f"vllm_{name}" for name in names)


_BYTES = _named("mooncake_bytes_transferred", "nixl_bytes_transferred")


@dataclass(frozen=True, slots=True)
class Vllm:
    """A vLLM server; its engines (label `engine`) are added up."""

    name: str = "vLLM"
    families: frozenset[str] = frozenset({"vllm"})
    zero: frozenset[str] = frozenset({"prompt_tokens", "generated_tokens", "requests", "failed", "kv_sent_bytes"})
    terms: Sequence[Term] = (
        Term("running", Kind.GAUGE, _named("num_requests_running")),
        Term("queued", Kind.GAUGE, _named("num_requests_waiting")),
        Term(
            "kv_usage_percent", Kind.GAUGE, _named("kv_cache_usage_perc", "gpu_cache_usage_perc"), Fold.LARGEST, 100.0
        ),
        Term("prompt_tokens", Kind.COUNTER, _named("prompt_tokens")),
        Term("generated_tokens", Kind.COUNTER, _named("generation_tokens")),
        Term("requests", Kind.COUNTER, _named("request_success"), Fold.ALL),
        Term(
            "failed",
            Kind.COUNTER,
            _named("request_success"),
            Fold.ALL,
            where={"finished_reason": frozenset({"error", "abort"})},
        ),
        Term("ttft", Kind.HISTOGRAM, _named("time_to_first_token_seconds")),
        Term(
            "itl",
            Kind.HISTOGRAM,
            _named(
                "inter_token_latency_seconds", "time_per_output_token_seconds", "request_time_per_output_token_seconds"
            ),
        ),
        Term("e2e", Kind.HISTOGRAM, _named("e2e_request_latency_seconds")),
        Term("transfer_latency", Kind.HISTOGRAM, _named("mooncake_xfer_time_seconds", "nixl_xfer_time_seconds")),
        Term("transfer_size", Kind.HISTOGRAM, _BYTES, Fold.ALL),
        Term("kv_sent_bytes", Kind.SUM, _BYTES, Fold.ALL),
    )
