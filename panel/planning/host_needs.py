"""Whether a plan needs to know this host's devices: looking at them costs a start half a second. Pure."""

from __future__ import annotations

from ..deployment import Deployment
from ..host_facts import HostFacts

__all__ = ["needs_this_host"]


def needs_this_host(deployment: Deployment, host: HostFacts | None = None) -> bool:
    """Returns True when a plan for this host cannot be made without looking at its devices.

    Args:
        host: this host; its GPUs matter to the engine that uses them where there are some.
    """
    if host is not None and host.has_gpus and deployment.engine == "bundled" and deployment.gpu_selection is None:
        return True
    parts = (deployment.workers, deployment.prefill, deployment.decode, deployment.unified, deployment.encoder)
    choices = [deployment.nics, *(part.nics for part in parts)]
    return deployment.gpu_selection == "uuid" or "affinity" in [each for each in choices if isinstance(each, str)]
