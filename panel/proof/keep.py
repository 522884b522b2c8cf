"""Where the proof of a run is kept: one file in the run's directory, replaced as a whole."""

from __future__ import annotations

from pathlib import Path

from ..rundir import RunDir
from ..runs import Runs
from .proof import PROOF_FILE, Proof, encode_proof

__all__ = ["directory_of", "keep"]


def directory_of(runs: Runs, run_id: str) -> Path:
    """Returns a run's directory; raises NotFoundError for a run that is not there."""
    return runs.log_path(run_id, "runner").parent


def keep(runs: Runs, proof: Proof) -> Path:
    """Writes `proof` beside the run that it is about, and returns the file; raises OSError."""
    rundir = RunDir(directory_of(runs, proof.run_id))
    path = rundir.path / PROOF_FILE
    rundir.write(path, encode_proof(proof))
    return path
