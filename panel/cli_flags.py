"""What `pdpanel flags` prints: the options of an engine, and which of a deployment's it does not know.

`panel.flags` reads and judges; `panel.cli_planning` parses the arguments.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import typer

from ..engine.errors import ConfigError
from ..nic_probe.finding import Finding, Severity
from .cli_render import plan_of_file
from .dialects.registry import DIALECTS
from .doctor_text import count_of, finding_json, findings_text
from .flags.installed import KnownEngine, installed_engine, released_engine
from .flags.judge import unknown_options
from .flags.program import program_of
from .flags.successors import ENGINES
from .flags.table import Option
from .flags.version import version_of
from .launch import LaunchPlan

__all__ = ["flags"]

_LONGEST_VERSION = 60


def flags(
    engine: str, deployment: Path | None = None, *, python: str | None = None, version: str | None = None, as_json: bool
) -> int:
    """Prints the options of an engine, or the findings on a deployment's, and returns 1 when one is an error, else 0.

    Args:
        engine: sglang, vllm or sglang-router.
        python: the interpreter whose engine is read; without it the panel's own, where that has the engine.
        version: read a release's table and no installed engine; empty is the newest.

    Raises:
        ConfigError: the engine is unknown, is not installed where it was looked for, or the deployment is unusable.
    """
    if engine not in ENGINES:
        raise ConfigError("--engine", engine, "is none whose options are known", f"use one of {', '.join(ENGINES)}")
    if python is not None and version is not None:
        raise ConfigError("--version", version, "is not asked for with --python", "leave one of the two out")
    plan = plan_of_file(deployment) if deployment is not None else None
    known = _known(engine, python, version, plan)
    findings = list(_findings(known, plan)) if plan is not None else []
    if as_json:
        typer.echo(json.dumps(_document(known, findings), indent=2))
    elif plan is not None:
        typer.echo(f"# {known.title}: {known.source}\n{findings_text(findings)}", nl=False)
    else:
        typer.echo("\n".join((f"# {known.title}: {known.source}", *_lines(known))))
    return 1 if count_of(findings, Severity.ERROR) else 0


def _known(engine: str, python: str | None, version: str | None, plan: LaunchPlan | None) -> KnownEngine:
    if version is not None:
        if len(version) > _LONGEST_VERSION or (version and not version_of(version)):
            raise ConfigError("--version", version, "is not a version", "write it as in 0.5.23, or '' for the newest")
        return released_engine(engine, version)
    found = installed_engine(engine, python or sys.executable)
    if found is not None:
        return found
    if python is not None:
        raise ConfigError("--python", python, f"has no {engine} installed", "give the interpreter that runs the engine")
    of_plan = plan is not None and DIALECTS[plan.dialect].engine == engine
    return released_engine(engine, plan.engine_version if plan is not None and of_plan else "")


def _findings(known: KnownEngine, plan: LaunchPlan) -> Iterator[Finding]:
    for process in plan.processes:
        program = program_of(process.argv)
        if program is not None and program[0] == known.table.engine:
            yield from unknown_options(known, process.name, program[1])


def _document(known: KnownEngine, findings: Sequence[Finding]) -> dict[str, Any]:
    return {
        "engine": known.table.engine,
        "version": known.title.rpartition(" ")[2],
        "source": known.source,
        "options": [_option(option) for option in _options(known)],
        "findings": [finding_json(finding) for finding in findings],
    }


def _option(option: Option) -> dict[str, str]:
    return {
        "name": option.name,
        "kind": str(option.kind),
        "alias_of": option.alias_of,
        "deprecated": option.deprecated,
        "instead": option.instead,
    }


def _options(known: KnownEngine) -> list[Option]:
    table = known.table
    return [table.options[name] for name in sorted(table.names_at(known.version))]


def _lines(known: KnownEngine) -> Iterator[str]:
    for option in _options(known):
        notes = [str(option.kind)]
        if option.alias_of:
            notes.append(f"same as {option.alias_of}")
        if option.is_deprecated(known.version):
            notes.append(f"deprecated since {option.deprecated}" + f", use {option.instead}" * bool(option.instead))
        yield f"{option.name}  [{'; '.join(notes)}]"
