"""A proof of transport as it is kept with a run: the verdict, when it was made, and the evidence as a table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from .verdict import Asked, Difference, Verdict

__all__ = ["PROOF_FILE", "Proof", "decode_proof", "encode_proof", "read_proof"]

PROOF_FILE = "proof.json"
"""The name of the file in a run's directory that holds its last proof."""


@dataclass(frozen=True, slots=True)
class Proof:
    """One proof.

    Attributes:
        at: unix seconds when it was made.
        expected_bytes: KV that the engine says it moved while the requests ran; None when it does not say.
        expected_source: where that was read.
        requests: test requests that were answered.
        prompt_tokens: of all of them.
        seconds: how long the requests took.
        baseline_s: how long the counters were watched before.
        evidence: every link, those that carried most first.
        own_bytes: how much of `expected_bytes` was the deployment's own load, by the rate before.
    """

    run_id: str
    at: float
    verdict: Verdict
    asked: Asked
    nics: tuple[str, ...]
    expected_bytes: float | None
    expected_source: str
    requests: int
    prompt_tokens: int
    seconds: float
    baseline_s: float
    evidence: tuple[Difference, ...]
    own_bytes: float = 0.0


def encode_proof(proof: Proof) -> bytes:
    """Returns `proof` as readable JSON."""
    return msgspec.json.format(msgspec.json.encode(proof), indent=2)


def decode_proof(data: bytes) -> Proof:
    """Returns the proof in `data`; raises msgspec.MsgspecError when it is none."""
    return msgspec.json.decode(data, type=Proof)


def read_proof(directory: Path) -> Proof | None:
    """Returns the proof that is kept in a run's directory, None if there is none that can be read."""
    try:
        return decode_proof((directory / PROOF_FILE).read_bytes())
    except (OSError, msgspec.MsgspecError):
        return None
