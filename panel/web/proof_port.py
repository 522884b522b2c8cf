"""What the web part needs of proofs of transport: begin one, and what the last one came to.

`proof_source.RunProofs` is the real one; a test's source brings another. The values are JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

__all__ = ["ProofView", "Proofs"]


@dataclass(frozen=True, slots=True)
class ProofView:
    """The proof of a run.

    Attributes:
        state: none, running, done or failed.
        text: what goes on now, or why it failed, in one sentence.
        share: how much of it is done, 0 to 1.
        proof: the last one that was finished, as `panel.proof.proof.Proof` in JSON; None before the first.
    """

    state: str
    text: str = ""
    share: float = 0.0
    proof: Mapping[str, object] | None = None


class Proofs(Protocol):
    """Proofs of transport; each method may block shortly and raises only PdpanelError."""

    def begin(self, run_id: str) -> ProofView:
        """Begins a proof of a run unless one is under way, and returns at once."""
        ...

    def last(self, run_id: str) -> ProofView:
        """Returns how far the proof of a run is, or what the last one came to."""
        ...
