"""What the step loop needs of KV memory: `KVCache` is one rank's, `parallel.ranks.RankedKV` that of several."""

from __future__ import annotations

from typing import Protocol

from .pages import Run, Runs

__all__ = ["KVMemory"]


class KVMemory(Protocol):
    """The compute slots and staging pages of one attention group; see `kv` for what the pages are."""

    page_size: int

    def first_token(self, slot: Run) -> int:
        """Returns the token index of a slot's first place."""
        ...

    def move(self, source: int, target: int, tokens: int) -> None:
        """Copies `tokens` tokens from slot page `source` to slot page `target`; the ranges may overlap."""
        ...

    def export_pages(self, slot_page: int, staging: Runs) -> None:
        """Copies consecutive slot pages, from `slot_page` on, into the staging runs in order."""
        ...

    def import_pages(
        self, staging: Runs, slot_page: int, *, peer: str = "", granted: Runs = (), first: int = 0
    ) -> None:
        """Copies the staging runs, in order, into consecutive slot pages from `slot_page` on."""
        ...
