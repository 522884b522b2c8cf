"""Where the proof of a run is kept, and the key that its questions carry: files in the run's directory."""

from __future__ import annotations

from pathlib import Path

from ..attach.key_file import AttachKey, read_key
from ..rundir import RunDir
from ..runs import Runs
from .proof import PROOF_FILE, Proof, encode_proof

__all__ = ["directory_of", "keep", "key_of_run"]


def directory_of(runs: Runs, run_id: str) -> Path:
    """Returns a run's directory; raises NotFoundError for a run that is not there."""
    return runs.log_path(run_id, "runner").parent


def key_of_run(runs: Runs, run_id: str) -> AttachKey:
    """Returns the key of an attached run, of another one `NO_KEY`; raises NotFoundError for one that is not there."""
    return read_key(RunDir(directory_of(runs, run_id)))


def keep(runs: Runs, proof: Proof) -> Path:
    """Writes `proof` beside the run that it is about, and returns the file; raises OSError."""
    rundir = RunDir(directory_of(runs, proof.run_id))
    path = rundir.path / PROOF_FILE
    rundir.write(path, encode_proof(proof))
    return path
