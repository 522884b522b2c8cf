"""What `pdpanel export` does. `panel.cli_planning` parses the arguments."""

from __future__ import annotations

from pathlib import Path

import typer

from ..engine.errors import ConfigError
from ..nic_probe.finding import Severity
from .deployment import load_deployment
from .doctor_text import count_of, findings_text
from .export.export import export_files
from .export.exported import ExportedFile
from .export.writing import write_archive, write_folder
from .host_facts import elsewhere
from .plan import plan
from .planning.read_nodes import read_nodes
from .simulate.marks import marked_files

__all__ = ["export"]


def export(
    path: Path, format_name: str, folder: Path | None, archive: Path | None, *, force: bool, told: str = ""
) -> int:
    """Writes a deployment's files and says what to do with them; returns 1 when a finding is an error, else 0.

    `told` is what each file says of a simulated host; empty for a real one.

    Raises:
        ConfigError: the deployment, the format or the target cannot be used.
        CapacityError: no port of a band is free.
    """
    if folder is None and archive is None:
        raise ConfigError("-o", "", "is missing", "write -o DIR for a folder, or --zip FILE for one file")
    deployment = load_deployment(path)
    made = plan(deployment, elsewhere(), None, read_nodes(deployment, path.parent))
    files = export_files(made, deployment, format_name)
    if told:
        files = marked_files(files, told)
    if folder is not None:
        write_folder(files, folder, force=force)
    if archive is not None:
        write_archive(files, archive, force=force)
    for target in (folder, archive):
        if target is not None:
            typer.echo(f"{target}: {len(files)} files, {sum(len(file.text) for file in files) / 1000:.1f} kB")
    for line in _steps(files):
        typer.echo(line)
    if made.findings:
        typer.echo(findings_text(made.findings), nl=False, err=True)
    return 1 if count_of(made.findings, Severity.ERROR) else 0


def _steps(files: tuple[ExportedFile, ...]) -> list[str]:
    """Returns what the README says is to be done."""
    readme = next((file.text for file in files if file.path == "README.md"), "")
    _, found, rest = readme.partition("\n## What to do\n")
    steps = rest.partition("\n## ")[0].strip() if found else ""
    return ["", *steps.splitlines(), "", "README.md says the same."] if steps else []
