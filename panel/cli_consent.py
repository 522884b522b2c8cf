"""Asks before a deployment from elsewhere is started, and shows what it would run. `panel.cli` calls it."""

from __future__ import annotations

import sys

import typer

from ..engine.errors import ConfigError
from .deployment import Deployment
from .runner.journal import strip_controls
from .runs import Runs
from .start.consent import commands_text, needs_consent

__all__ = ["agree"]


def agree(runs: Runs, deployment: Deployment, source: str, *, yes: bool) -> None:
    """Shows what a deployment from elsewhere would run and asks, once for each version of it.

    Args:
        source: the file that it comes from.
        yes: True when the person has agreed already.

    Raises:
        ConfigError: the person does not agree, or nobody is there to ask.
    """
    if not needs_consent(deployment) or runs.consents.given(deployment):
        return
    if not yes:
        from .doctor.deployment import check_plan  # only here: it would cost every start
        from .doctor_text import findings_text

        plan = runs.preview(deployment)
        typer.echo(strip_controls(f"{source} would start:\n{commands_text(plan)}\n"))
        if findings := check_plan(plan):
            typer.echo(findings_text(findings))
        if not sys.stdin.isatty():
            raise ConfigError("--yes", False, "is needed: this deployment brings commands of its own", "add --yes")
        if not typer.confirm("Start this?"):
            raise ConfigError("DEPLOYMENT", source, "was not agreed to", "start it when you trust it")
    runs.consents.give(deployment)
