"""What `pdpanel render` and `pdpanel schema` print. `panel.cli` parses the arguments."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import typer

from ..nic_probe.finding import Severity
from .deployment import Deployment, load_deployment
from .doctor.deployment import check_plan
from .doctor_text import count_of, findings_text
from .host_facts import elsewhere
from .launch import LaunchPlan, ProcessSpec
from .plan import plan
from .planning.read_nodes import read_nodes
from .render import file_key
from .render import render as rendered

__all__ = ["plan_of_file", "render", "schema"]


def plan_of_file(path: Path) -> LaunchPlan:
    """Returns the plan of the deployment in a file, for the hosts that it names.

    Raises:
        ConfigError: the file or a dump that it names cannot be used, or a field does not fit.
        CapacityError: no port of a band is free.
    """
    deployment = load_deployment(path)
    made = plan(deployment, elsewhere(), None, read_nodes(deployment, path.parent))
    return replace(made, findings=check_plan(made))


def render(path: Path, *, as_json: bool) -> int:
    """Prints the files and commands of a deployment, and returns 1 when a finding is an error, else 0."""
    made = plan_of_file(path)
    if as_json:
        typer.echo(json.dumps(rendered(made), indent=2, ensure_ascii=False))
    else:
        typer.echo("\n".join(_lines(made)))
    return 1 if count_of(made.findings, Severity.ERROR) else 0


def schema() -> None:
    """Prints the JSON schema of a deployment file."""
    document = Deployment.model_json_schema()
    typer.echo(json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **document}, indent=2))


def _lines(made: LaunchPlan) -> Iterator[str]:
    for file in made.files:
        yield f"# file {file_key(file)}"
        yield file.text.rstrip("\n")
        yield ""
    for spec in made.processes:
        yield f"# {spec.name} on {spec.node}" if spec.node else f"# {spec.name}"
        yield _shell(spec)
        yield ""
    for request in made.requests:
        yield f"# test, on {request.node}" if request.node else "# test"
        yield shlex.join(request.argv)
        yield ""
    if made.findings:
        yield findings_text(made.findings).rstrip("\n")


def _shell(spec: ProcessSpec) -> str:
    words = [f"{name}={shlex.quote(value)}" for name, value in spec.env.items()]
    command = " ".join([*words, shlex.join(spec.argv)])
    return f"(cd {shlex.quote(spec.cwd)} && {command})" if spec.cwd else command
