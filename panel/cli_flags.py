"""What `pdpanel flags` prints: the options of an engine, and which of a deployment's it does not know.

`panel.flags` reads and judges; `panel.cli_planning` parses the arguments.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import typer

from ..engine.errors import ConfigError
from ..nic_probe.finding import Finding, Severity
from .doctor_text import count_of, finding_json, findings_text
from .flags.installed import installed_table
from .flags.judge import options_of, unknown_options
from .flags.program import program_of
from .flags.successors import ENGINES
from .flags.table import Option, Table, load_table
from .flags.version import version_of
from .launch import LaunchPlan

__all__ = ["flags"]


def flags(
    engine: str, deployment: Path | None = None, *, python: str | None = None, version: str | None = None, as_json: bool
) -> int:
    """Prints the options of an engine, or the findings on a deployment's, and returns 1 when one is an error, else 0.

    Args:
        engine: sglang, vllm or sglang-router.
        python: the interpreter whose engine is read; without it the panel's own, if it has the engine.
        version: take the table of releases instead, and this one of them; empty is the newest.

    Raises:
        ConfigError: the engine is unknown, is not installed where it was looked for, or the deployment is unusable.
    """
    if engine not in ENGINES:
        raise ConfigError("--engine", engine, "is none whose options are known", f"use one of {', '.join(ENGINES)}")
    made = None
    if deployment is not None:
        from .cli_render import plan_of_file

        made = plan_of_file(deployment)
    table, source = _table(engine, python, version if version is not None else _wanted(made, engine))
    numbers = _numbers(table, source, version if version is not None else _wanted(made, engine))
    shown = f"{engine} {_shown_version(table, source, version or _wanted(made, engine))}"
    findings = list(_findings(table, numbers, shown, engine, made)) if made is not None else []
    if as_json:
        typer.echo(json.dumps(_document(table, numbers, shown, source, findings), indent=2))
    elif made is not None:
        typer.echo(f"# {shown}: {source}\n{findings_text(findings)}", nl=False)
    else:
        typer.echo("\n".join((f"# {shown}: {source}", *_lines(table, numbers))))
    return 1 if count_of(findings, Severity.ERROR) else 0
