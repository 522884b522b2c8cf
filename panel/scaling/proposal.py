"""A plan that a run is asked to go over to: two files in the run's directory and the digest that names them.

The client writes them, the runner reads them; so a request to the runner carries no command, and what is done is what
was shown.
"""

from __future__ import annotations

import hashlib

from ...engine.errors import ConflictError
from ..launch import LaunchPlan, decode_plan, encode_plan
from ..rundir import RunDir

__all__ = ["digest_of", "propose", "proposed"]


def digest_of(old: LaunchPlan, new: LaunchPlan, deployment: str) -> str:
    """Returns what stands for going from one plan to another, whose deployment is the YAML text."""
    return _digest(encode_plan(old), encode_plan(new), deployment.encode())


def propose(rundir: RunDir, old: LaunchPlan, new: LaunchPlan, deployment: str) -> str:
    """Writes the plan beside the one that runs, and returns its digest."""
    rundir.write(rundir.next_deployment, deployment.encode())
    rundir.write(rundir.next_plan, encode_plan(new))
    return digest_of(old, new, deployment)


def proposed(rundir: RunDir, old: LaunchPlan, digest: str) -> tuple[LaunchPlan, bytes]:
    """Returns the proposed plan and its deployment.

    Raises:
        ConflictError: the files are not what `digest` stands for, or `old` is not what it was.
    """
    try:
        plan, deployment = rundir.next_plan.read_bytes(), rundir.next_deployment.read_bytes()
    except OSError:
        plan = deployment = b""
    if _digest(encode_plan(old), plan, deployment) != digest:
        raise ConflictError("run", rundir.run_id, "has changed since the difference was shown", "look at it again")
    return decode_plan(plan), deployment


def _digest(*parts: bytes) -> str:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(len(part).to_bytes(8, "big") + part)
    return whole.hexdigest()
