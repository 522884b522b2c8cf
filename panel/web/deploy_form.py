"""The deployment that the Deploy form asks for. Pure. Called by the sources and by `deploy_routes`."""

from __future__ import annotations

from ..deployment import Deployment, parse_deployment
from .port import DeployForm

__all__ = ["deployment_of_form"]


def deployment_of_form(form: DeployForm) -> Deployment:
    """Returns the deployment; raises ConfigError for a field that is wrong."""
    if form.mode == "unified":
        roles: dict[str, object] = {"unified": {"count": form.unified}}
    else:
        roles = {"prefill": {"count": form.prefill}, "decode": {"count": form.decode}}
    return parse_deployment({"model": form.model.strip(), "transport": form.transport, **roles})
