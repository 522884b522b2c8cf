"""The metrics of sglang-router 0.3 and of its successor smg, which share their names, and of older sglang-routers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .vocabulary import Fold, Kind, Term

__all__ = ["Smg"]


@dataclass(frozen=True, slots=True)
class Smg:
    """sglang-router or smg."""

    name: str = "sglang-router"
    families: frozenset[str] = frozenset({"smg", "sgl_router"})
    zero: frozenset[str] = frozenset({"requests", "failed"})
    terms: Sequence[Term] = (
        Term("running", Kind.GAUGE, ("smg_worker_requests_active", "sgl_router_running_requests"), Fold.LARGEST),
        Term("requests", Kind.COUNTER, ("smg_router_requests", "sgl_router_requests"), Fold.ALL),
        Term("failed", Kind.COUNTER, ("smg_router_request_errors", "sgl_router_request_errors"), Fold.ALL),
        Term("ttft", Kind.HISTOGRAM, ("smg_pd_ttft_seconds", "smg_router_ttft_seconds"), Fold.ALL),
        Term(
            "e2e",
            Kind.HISTOGRAM,
            ("smg_router_request_duration_seconds", "sgl_router_request_duration_seconds"),
            Fold.ALL,
        ),
    )
