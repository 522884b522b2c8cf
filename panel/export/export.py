"""The one way from a deployment to the files of an export. Pure: the same input gives the same bytes."""

from __future__ import annotations

from dataclasses import replace

from ...engine.errors import ConfigError
from ..deployment import Deployment, dump_deployment
from ..launch import LaunchPlan
from .benchmark import trial_requests
from .exported import ExportedFile
from .formats import FORMATS

__all__ = ["export_files"]

_JOB = "rocm-mad"
_NO_JOBS = ("compose", "systemd", "k8s")


def export_files(plan: LaunchPlan, deployment: Deployment, format_name: str) -> tuple[ExportedFile, ...]:
    """Returns the files of an export and `deployment.yaml`, from which it can be made anew.

    A plan without a request that tries it gets one.

    Raises:
        ConfigError: there is no such format, or it is none for this plan.
    """
    chosen = FORMATS.get(format_name)
    if chosen is None:
        raise ConfigError("--format", format_name, "is no format", f"write one of {', '.join(FORMATS)}")
    if plan.dialect == _JOB and format_name in _NO_JOBS:
        problem = f"is a job of Slurm's, which {chosen.title} cannot start"
        raise ConfigError("dialect", _JOB, problem, "export it as slurm, or use the dialect sglang")
    whole = replace(plan, requests=trial_requests(plan, deployment))
    made = chosen.write(whole, deployment)
    paths = [file.path for file in made]
    assert len(set(paths)) == len(paths), "a format names each file once"
    if "deployment.yaml" in paths:
        return made
    return (*made, ExportedFile("deployment.yaml", dump_deployment(deployment)))
