"""`pdpanel scale`: more or fewer workers of a running deployment, with the difference shown first.

A thin shell around `panel.scaling`; `panel.cli` calls `register`.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..engine.errors import ConfigError
from .config import PanelConfig

if TYPE_CHECKING:
    from .launch import Role
    from .scaling.run_scaling import ScalePreview

__all__ = ["register"]

_RunOption = Annotated[str | None, typer.Option("--run", metavar="ID", help="The run, by id or by name.")]


def _count(role: str) -> Any:
    return typer.Option(f"--{role}", metavar="N", min=1, help=f"So many {role} workers.")


def register(app: typer.Typer) -> None:
    """Adds the command to `app`."""
    app.command("scale")(scale)


def scale(
    context: typer.Context,
    run: _RunOption = None,
    prefill: Annotated[int | None, _count("prefill")] = None,
    decode: Annotated[int | None, _count("decode")] = None,
    unified: Annotated[int | None, _count("unified")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the difference alone.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do it without a question.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the difference as JSON; needs --dry-run.")] = False,
) -> None:
    """Add or remove workers of a running deployment; what stays goes on serving.

    Shows what is started, what ends and what is restarted, and asks. Ends with 1 when nobody agrees.
    """
    from .cli_runs import one_active
    from .launch import Role
    from .runner.journal import clean_line
    from .runs import Runs

    assert isinstance(context.obj, PanelConfig)
    given = ((Role.PREFILL, prefill), (Role.DECODE, decode), (Role.UNIFIED, unified))
    counts: dict[Role, int] = {role: count for role, count in given if count is not None}
    if not counts:
        raise ConfigError("--prefill", None, "is not given, and neither is --decode or --unified", "say how many")
    if as_json and not dry_run:
        raise ConfigError("--json", True, "shows a difference and asks nobody", "add --dry-run")
    runs = Runs(context.obj)
    view = one_active(runs, run)
    shown = runs.scaling.preview(view.id, counts)
    if as_json:
        from .scaling.as_json import preview_json

        typer.echo(json.dumps(preview_json(shown), indent=2))
        return
    typer.echo(_text(view.id, shown), nl=False)
    if dry_run or not shown.difference:
        return
    if not yes:
        if not sys.stdin.isatty():
            raise ConfigError("--yes", False, "is needed where nobody can be asked", "add --yes, or --dry-run to look")
        if not typer.confirm("Do this?"):
            raise typer.Exit(1)
    after = runs.scaling.apply(view.id, counts, shown.id, lambda text: typer.echo(f"  {clean_line(text)}"))
    numbers = ", ".join(f"{count} {role.value}" for role, count in shown.after.items())
    typer.echo(f"{after.id} {after.state}: {numbers}")


def _text(run_id: str, shown: ScalePreview) -> str:
    from .doctor_text import findings_text
    from .runner.journal import strip_controls
    from .scaling.as_json import room_sentences

    before = shown.before
    counts = ", ".join(f"{role.value} {before.get(role, 0)} -> {count}" for role, count in shown.after.items())
    lines = [f"{run_id}: {counts}"]
    if not shown.difference:
        return f"{lines[0]}: nothing changes\n"
    lines += [f"{sign} {text}" for sign, text in shown.lines]
    lines += [f"note: {note}" for note in shown.difference.notes]
    lines += [f"room: {sentence}" for sentence in room_sentences(shown.room)]
    text = strip_controls("\n".join(lines) + "\n")
    return text + (findings_text(shown.findings) if shown.findings else "")
