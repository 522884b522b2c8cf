"""Whether a plan needs to know this host's devices: looking at them costs a start half a second. Pure."""

from __future__ import annotations

from ..deployment import Deployment

__all__ = ["needs_this_host"]


def needs_this_host(deployment: Deployment) -> bool:
    """Returns True when a plan for this host cannot be made without looking at its devices."""
    parts = (deployment.workers, deployment.prefill, deployment.decode, deployment.unified, deployment.encoder)
    choices = [deployment.nics, *(part.nics for part in parts)]
    return deployment.gpu_selection == "uuid" or "affinity" in [each for each in choices if isinstance(each, str)]
