"""The metrics of Mooncake's master: how full the store is, and how often it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .vocabulary import Fold, Kind, Term

__all__ = ["MooncakeMaster"]


@dataclass(frozen=True, slots=True)
class MooncakeMaster:
    """A Mooncake master."""

    name: str = "Mooncake master"
    families: frozenset[str] = frozenset({"master", "mooncake"})
    zero: frozenset[str] = frozenset()
    terms: Sequence[Term] = (
        Term("store_bytes", Kind.GAUGE, ("master_allocated_bytes",), Fold.ALL),
        Term("store_keys", Kind.GAUGE, ("master_key_count",), Fold.ALL),
    )
