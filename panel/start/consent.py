"""What a deployment from elsewhere would run, shown and agreed to before its first start.

Pure but for the folder of agreements. A deployment that only names a model and counts for the bundled engine runs
nothing that the panel would not run anyway; one with variables, interpreters, images or another engine does.
"""

from __future__ import annotations

import hashlib
import ipaddress
import shlex
from collections.abc import Iterator
from pathlib import Path

from ...engine.errors import PdpanelError
from ..deployment import Deployment, dump_deployment
from ..launch import LaunchPlan

__all__ = ["ConsentError", "Consents", "commands_text", "consent_id", "needs_consent"]


class ConsentError(PdpanelError):
    """Raised for the start of a deployment that nobody has agreed to."""

    http_status = 409


_ROLES = ("prefill", "decode", "unified", "encoder")


def needs_consent(deployment: Deployment) -> bool:
    """Returns True for a deployment whose author decides more than what the bundled engine serves on loopback."""
    if deployment.engine != "bundled" or deployment.env or deployment.metadata or deployment.store:
        return True
    if deployment.run != type(deployment.run)() or any(host.run or host.env for host in deployment.hosts.values()):
        return True
    parts = [deployment.settings(role) for role in _ROLES]
    if any(part.env or part.run or part.flags or part.trust_remote_code for part in parts):
        return True
    if deployment.router.env or deployment.router.run or deployment.router.flags:
        return True
    return not all(_is_loopback(address) for address in _listening(deployment))


def _listening(deployment: Deployment) -> Iterator[str]:
    """Yields where workers and router would listen: they ask nobody for a password."""
    yield deployment.host
    if deployment.router.host is not None:
        yield deployment.router.host
    for role in _ROLES:
        for name in deployment.settings(role).hosts or ():
            spec = deployment.hosts.get(name)
            yield (spec and spec.address) or name


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def consent_id(deployment: Deployment) -> str:
    """Returns what stands for exactly this deployment in an agreement."""
    return hashlib.sha256(dump_deployment(deployment).encode()).hexdigest()


def commands_text(plan: LaunchPlan) -> str:
    """Returns every command of the plan with its variables, for a person to look at."""
    return "\n".join(_lines(plan))


def _lines(plan: LaunchPlan) -> Iterator[str]:
    for spec in plan.processes:
        yield f"{spec.name}:"
        yield from (f"  {name}={shlex.quote(value)}" for name, value in spec.env.items())
        yield f"  {shlex.join(spec.argv)}"


class Consents:
    """The deployments that this user has agreed to start, one empty file each.

    Args:
        folder: where they are kept; made when the first is given.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def given(self, deployment: Deployment) -> bool:
        """Returns True when this very deployment was agreed to before."""
        return (self._folder / consent_id(deployment)).is_file()

    def give(self, deployment: Deployment) -> None:
        """Remembers that it was agreed to."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self._folder / consent_id(deployment)).touch(mode=0o600)
