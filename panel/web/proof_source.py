"""Proofs of transport over the real runs: each in a thread of its own, its result kept in the run's directory."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import msgspec

from ...engine.errors import PdpanelError
from ..launch import LaunchPlan
from ..proof.keep import directory_of, keep
from ..proof.proof import Proof, encode_proof, read_proof
from ..proof.prove import prove
from ..runs import Runs
from .proof_port import ProofView

__all__ = ["RunProofs", "plain_proof"]

_LOG = logging.getLogger(__name__)


_Prove = Callable[[str, LaunchPlan, Callable[[str, float], None]], Proof]


class RunProofs:
    """The `Proofs` over a `Runs`.

    Args:
        runs: the runs of this user.
        make: measures; replaced by tests.
    """

    def __init__(self, runs: Runs, make: _Prove = prove) -> None:
        self._runs = runs
        self._make = make
        self._lock = threading.Lock()
        self._going: dict[str, ProofView] = {}

    def begin(self, run_id: str) -> ProofView:
        """Begins a proof unless one is under way; raises NotFoundError for a run that is not there."""
        plan = self._runs.plan(run_id)
        with self._lock:
            going = self._going.get(run_id)
            if going is not None and going.state == "running":
                return going
            self._going[run_id] = view = ProofView("running", "beginning")
        threading.Thread(target=self._work, args=(run_id, plan), name=f"proof {run_id}", daemon=True).start()
        return view

    def last(self, run_id: str) -> ProofView:
        """Returns how far the proof is, or the last result; raises NotFoundError for a run that is not there."""
        kept = read_proof(directory_of(self._runs, run_id))
        proof = None if kept is None else plain_proof(kept)
        with self._lock:
            going = self._going.get(run_id)
        if going is not None:
            return replace(going, proof=proof)
        return ProofView("none") if proof is None else ProofView("done", share=1.0, proof=proof)

    def _work(self, run_id: str, plan: LaunchPlan) -> None:
        def tell(text: str, share: float) -> None:
            with self._lock:
                self._going[run_id] = ProofView("running", text, share)

        try:
            proof = self._make(run_id, plan, tell)
            keep(self._runs, proof)
            end = ProofView("done", proof.verdict.sentence, 1.0)
        except PdpanelError as error:
            end = ProofView("failed", str(error))
        except OSError as error:
            end = ProofView("failed", f"The proof cannot be kept: {error.strerror}.")
        except Exception:
            _LOG.exception("the proof of %s broke", run_id)
            end = ProofView("failed", "The proof broke; the panel's log says where.")
        with self._lock:
            self._going[run_id] = end


def plain_proof(proof: Proof) -> Mapping[str, object]:
    """Returns a proof as JSON values, with what each link moved."""
    plain: Any = msgspec.json.decode(encode_proof(proof))
    for one, made in zip(plain["evidence"], proof.evidence, strict=True):
        one["moved"] = made.moved
    return plain
