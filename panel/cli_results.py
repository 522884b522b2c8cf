"""What `pdpanel parse-log` does and prints: it reads benchmarks' logs and result files into one table.

Reads the files that the person named and hands their bytes to `panel.results`, which judges. `panel.cli` parses the
arguments.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import typer

from ..engine.errors import ConfigError
from ..nic_probe import Severity
from .doctor_text import count_of, finding_json, findings_text
from .results.comparison import compare
from .results.export import rows_csv, rows_json
from .results.findings import judge
from .results.parse import parse_results
from .results.results_text import results_text

__all__ = ["parse_logs"]

_MOST_BYTES = 256 << 20
_STANDARD_INPUT = "-"


def parse_logs(paths: Sequence[Path], *, as_json: bool, as_csv: bool) -> int:
    """Prints the results of the files as one table and returns 1 when a finding is an error, else 0.

    With CSV the findings go to standard error, so that standard output is the table alone. The file `-` is standard
    input.

    Raises:
        ConfigError: a file cannot be read, none is named, or two forms are asked for.
    """
    if as_json and as_csv:
        raise ConfigError("--csv", "with --json", "asks for a second form", "choose one of them")
    if not paths:
        raise ConfigError("FILE", "", "is not named", "name the log of a benchmark, or its result file")
    observed = [parse_results(_content(path), _name(path)) for path in paths]
    rows = compare(file.results for file in observed)
    findings = [finding for file in observed for finding in judge(file)]
    if as_json:
        counts = {str(severity): count_of(findings, severity) for severity in Severity}
        said = [finding_json(finding) for finding in findings]
        typer.echo(json.dumps({"results": rows_json(rows), "findings": said, "counts": counts}, indent=2))
    elif as_csv:
        typer.echo(rows_csv(rows), nl=False)
        if findings:
            typer.echo(findings_text(findings), nl=False, err=True)
    else:
        blocks = [results_text(rows), findings_text(findings) if findings else ""]
        typer.echo("\n".join(block for block in blocks if block), nl=False)
    return 1 if count_of(findings, Severity.ERROR) else 0


def _name(path: Path) -> str:
    name = "standard input" if str(path) == _STANDARD_INPUT else str(path)
    return name.encode("utf-8", "replace").decode()  # A name of a file may hold bytes that are no text.


def _content(path: Path) -> bytes:
    try:
        if str(path) == _STANDARD_INPUT:
            data = sys.stdin.buffer.read(_MOST_BYTES + 1)
        else:
            with path.open("rb") as file:
                data = file.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as error:  # A ValueError is a name with a null character.
        problem = (error.strerror if isinstance(error, OSError) else None) or "cannot be read"
        raise ConfigError("FILE", str(path), problem, "name a log that this user can read") from None
    if len(data) > _MOST_BYTES:
        remedy = "name the log of the benchmark alone, or a result file without details"
        raise ConfigError("FILE", str(path), f"is larger than {_MOST_BYTES >> 20} MiB", remedy)
    return data
