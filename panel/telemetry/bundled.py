"""The bundled engine's metrics: SGLang's names for what SGLang has, `pdpanel_` for links, pages and the router."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .sglang import SGLANG_TERMS
from .vocabulary import Fold, Kind, Term

__all__ = ["BundledRouter", "BundledWorker"]

_USED = frozenset({"held", "quarantined"})
_RANK_COUNTERS = ("seconds", "compute_seconds", "wait_seconds", "kv_bytes", "kv_writes")


def _pages(quantity: str, states: frozenset[str], *pools: str) -> Term:
    where = {"state": states} | ({"pool": frozenset(pools)} if pools else {})
    return Term(quantity, Kind.GAUGE, ("pdpanel_pages",), Fold.ALL, where=where)


def _of_rank(name: str, kind: Kind) -> Term:
    return Term(f"rank_{name}", kind, (f"pdpanel_rank_{name}",), Fold.ALL, by="rank")


@dataclass(frozen=True, slots=True)
class BundledWorker:
    """The bundled prefill, decode or unified worker."""

    name: str = "pdpanel"
    families: frozenset[str] = frozenset({"pdpanel"})
    zero: frozenset[str] = frozenset()
    terms: Sequence[Term] = (
        *SGLANG_TERMS,
        Term(
            "kv_bytes",
            Kind.COUNTER,
            ("pdpanel_kv_bytes",),
            Fold.ALL,
            where={"direction": frozenset({"sent"})},
            by="peer",
        ),
        _pages("slot_pages_used", _USED, "slot"),
        _pages("staging_pages_used", _USED, "staging"),
        _pages("pages_quarantined", frozenset({"quarantined"})),
        *(_of_rank(name, Kind.COUNTER) for name in _RANK_COUNTERS),
        _of_rank("rss_bytes", Kind.GAUGE),
        # SGLang's gauges are those of all attention groups together; these are of each.
        Term("group_running", Kind.GAUGE, ("sglang_num_running_reqs",), Fold.ALL, by="dp_rank"),
        Term("group_queued", Kind.GAUGE, ("sglang_num_queue_reqs",), Fold.ALL, by="dp_rank"),
        Term("group_kv_usage_percent", Kind.GAUGE, ("sglang_token_usage",), Fold.LARGEST, 100.0, by="dp_rank"),
    )


@dataclass(frozen=True, slots=True)
class BundledRouter:
    """The bundled router."""

    name: str = "pdpanel's router"
    families: frozenset[str] = frozenset({"pdpanel_router"})
    zero: frozenset[str] = frozenset({"requests", "failed"})
    terms: Sequence[Term] = (
        Term("running", Kind.GAUGE, ("pdpanel_router_open_requests",), Fold.ALL),
        Term("queued", Kind.GAUGE, ("pdpanel_router_queued_requests",), Fold.ALL),
        Term("requests", Kind.COUNTER, ("pdpanel_router_requests",), Fold.ALL),
        Term("failed", Kind.COUNTER, ("pdpanel_router_requests",), Fold.ALL, unless={"outcome": frozenset({"ok"})}),
        Term("e2e", Kind.HISTOGRAM, ("pdpanel_router_request_duration_seconds",), Fold.ALL),
        Term("loop_lag", Kind.HISTOGRAM, ("pdpanel_router_loop_lag_seconds",), Fold.ALL),
    )
