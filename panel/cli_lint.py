"""What `pdpanel lint` and `pdpanel import` print. Reads the files that a person names; `panel.lint` judges their text.

`panel.cli_planning` parses the arguments.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import typer

from ..engine.errors import ConfigError
from ..nic_probe.finding import Finding, Severity
from .deployment import dump_deployment
from .doctor.source_file import open_source
from .doctor_text import count_of, finding_json, findings_text
from .runner.journal import strip_controls

__all__ = ["import_files", "lint"]

_STDIN = Path("-")
_MOST_BYTES = 1 << 20
_ORDER = (Severity.ERROR, Severity.WARNING, Severity.UNKNOWN, Severity.INFO)


def lint(path: Path, *, as_json: bool, fix: bool, engine_version: str) -> int:
    """Prints what is wrong with a text, and returns 0, 1 for an error in it, or 2 when nothing in it can be judged.

    With `fix` the text as it would be right goes to stdout and the findings to stderr.

    Raises:
        ConfigError: the file cannot be read.
    """
    from .lint.kind import Kind
    from .lint.lint import lint_text

    text = _read(path, "FILE")
    report = lint_text(text, "stdin" if path == _STDIN else str(path), engine_version)
    if as_json:
        answer = {"kind": report.kind, **_findings_json(report.findings), "corrected": report.corrected}
        typer.echo(json.dumps(answer, indent=2, ensure_ascii=False))
    elif fix:
        corrected = text if report.corrected is None else report.corrected
        # A file gets every byte; a terminal gets nothing that would steer it.
        typer.echo(strip_controls(corrected) if sys.stdout.isatty() else corrected, nl=False)
        typer.echo(findings_text(report.findings), nl=False, err=True)
    else:
        typer.echo(findings_text(report.findings), nl=False)
    if report.kind == Kind.UNKNOWN:
        return 2
    return 1 if count_of(report.findings, Severity.ERROR) else 0


def import_files(paths: Sequence[Path], *, output: Path | None, name: str, as_json: bool) -> int:
    """Turns commands into a deployment file, and returns 0, 1 for an error in them, or 2 when there is no deployment.

    The YAML goes to stdout or to `output`, the findings to stderr.

    Raises:
        ConfigError: a file cannot be read or written.
    """
    from .lint.importing import import_texts

    texts = [("stdin" if path == _STDIN else str(path), _read(path, "FILE")) for path in paths or (_STDIN,)]
    texts += _configs_beside(paths, texts)
    imported = import_texts(texts, name)
    deployment = imported.deployment
    text = "" if deployment is None else dump_deployment(deployment)
    if as_json:
        fields = None if deployment is None else deployment.model_dump(mode="json", exclude_defaults=True)
        typer.echo(json.dumps({"deployment": fields, **_findings_json(imported.findings)}, indent=2))
    elif output is None:
        typer.echo(text, nl=False)
    if output is not None and deployment is not None:
        try:
            output.write_text(text, "utf-8")
        except OSError as error:
            problem = error.strerror or "cannot be written"
            raise ConfigError("--output", str(output), problem, "name a file in a folder that is there") from None
    if not as_json:
        typer.echo(findings_text(imported.findings), nl=False, err=True)
    if deployment is None:
        return 2
    return 1 if count_of(imported.findings, Severity.ERROR) else 0


def _findings_json(findings: Sequence[Finding]) -> dict[str, object]:
    counts = {str(severity): count_of(findings, severity) for severity in _ORDER}
    return {"findings": [finding_json(finding) for finding in findings], "counts": counts}


def _read(path: Path, option: str) -> str:
    """Returns the text of a file, or of stdin for `-`; one byte more than is judged, so that a cut is told."""
    remedy = "name a text file, or - for stdin"
    try:
        if path == _STDIN:
            return sys.stdin.buffer.read(_MOST_BYTES + 1).decode("utf-8", "replace")
        with open_source(path, option, remedy) as file:
            return file.read(_MOST_BYTES + 1).decode("utf-8", "replace")
    except OSError as error:
        raise ConfigError(option, str(path), error.strerror or "cannot be read", remedy) from None


def _configs_beside(paths: Sequence[Path], texts: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Returns the JSON configs that the scripts name and that lie beside them."""
    from .lint.configs import named_configs

    found: list[tuple[str, str]] = []
    given = {path.name for path in paths}
    for path, (_, text) in zip(paths, texts, strict=False):
        for name in named_configs(text):
            beside = path.parent / name
            if path == _STDIN or name in given or not beside.is_file():
                continue
            given.add(name)
            found.append((str(beside), _read(beside, "FILE")))
    return found
