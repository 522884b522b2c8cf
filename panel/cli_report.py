"""`pdpanel report RUN -o ZIP`: lists what a bug report about a run would hold, asks, and writes it.

A thin shell around `panel.report`; `panel.cli` calls `register`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..engine.errors import ConfigError
from .config import PanelConfig

if TYPE_CHECKING:
    from .report.report import Report
    from .runs import Runs

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Adds the command to `app`."""
    app.command("report")(report)


def report(
    context: typer.Context,
    run: Annotated[str, typer.Argument(metavar="RUN", show_default=False, help="A run, by id or by name.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="ZIP", readable=False, help="The zip file to write.")
    ] = None,
    only_list: Annotated[bool, typer.Option("--list", help="Say what it would hold, and write nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
    no_host: Annotated[bool, typer.Option("--no-host", help="Leave out what this host is.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
) -> None:
    """Gather probe, plan, findings, samples and ends of logs for a bug report, without secrets.

    Tokens, keys, passwords, home directories and the user's name are taken out.
    """
    from .report.gather import RunReports
    from .runs import Runs

    assert isinstance(context.obj, PanelConfig)
    runs = Runs(context.obj)
    run_id = _find(runs, run)
    path = output or Path(f"{run_id}-report.zip")
    if not only_list and not force and os.path.lexists(path):
        raise ConfigError("-o", str(path), "is there already", "add --force to overwrite it, or name another")
    made = RunReports(runs, probes_host=not no_host).report(run_id)
    _show(made, as_json=as_json)
    if only_list:
        return
    if not yes:
        if as_json or not sys.stdin.isatty():
            raise ConfigError("--yes", False, "is needed where nobody can be asked", "add --yes, or --list to look")
        if not typer.confirm(f"Write this to {path}?"):
            return
    _write(path, made.archive())
    if not as_json:
        typer.echo(f"{path}: look through it before you send it")


def _find(runs: Runs, text: str) -> str:
    """Returns the id of the run that `text` names: its own, or the name of which the newest run is meant."""
    views = runs.list()
    for view in views:
        if view.id == text:
            return view.id
    for view in views:
        if view.name == text:
            return view.id
    raise ConfigError("RUN", text, "is not a run of this user", "give an id that `pdpanel status` or `history` shows")


def _show(made: Report, *, as_json: bool) -> None:
    from .sizes import size_text

    if as_json:
        typer.echo(json.dumps({"files": made.listing, "bytes": made.size_bytes, "redacted": made.redacted}))
        return
    for file in made.files:
        taken = ", ".join(f"{count} x {kind}" for kind, count in file.redacted.items())
        typer.echo(f"{size_text(len(file.data)):>8}  {file.name}" + (f"  (taken out: {taken})" if taken else ""))
    typer.echo(f"{size_text(made.size_bytes):>8}  together, before it is packed")


def _write(path: Path, data: bytes) -> None:
    spare = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(spare, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        os.replace(spare, path)
    except OSError as error:
        spare.unlink(missing_ok=True)
        raise ConfigError("-o", str(path), error.strerror or "cannot be written", "name another file") from None
