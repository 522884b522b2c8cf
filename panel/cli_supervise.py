"""`pdpanel adopt` and `pdpanel restart`: verbs for runs that are there already.

A thin shell: `panel.cli` calls `register`, `panel.cli_runs` does the work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from .config import PanelConfig

if TYPE_CHECKING:
    from .runs import Runs

__all__ = ["ResumeOption", "register"]

RunOption = Annotated[str | None, typer.Option("--run", metavar="ID", help="The run, by id or by name.")]
ResumeOption = Annotated[
    bool,
    typer.Option("--resume", help="Start an ended run again: the one that is named instead of a file, or the latest."),
]


def register(app: typer.Typer) -> None:
    """Adds the commands to `app`."""
    app.command()(adopt)
    app.command()(restart)


def adopt(context: typer.Context, run: RunOption = None) -> None:
    """Give runs that lost their runner a new one; their processes go on."""
    from . import cli_runs

    raise typer.Exit(cli_runs.adopt(_runs(context), run))


def restart(
    context: typer.Context,
    process: Annotated[
        str | None, typer.Argument(metavar="PROCESS", show_default=False, help="One process; without it, all.")
    ] = None,
    run: RunOption = None,
) -> None:
    """Stop a run, or one process of it, and start it anew."""
    from . import cli_runs

    raise typer.Exit(cli_runs.restart(_runs(context), run, process))


def _runs(context: typer.Context) -> Runs:
    from .runs import Runs

    config = context.obj
    assert isinstance(config, PanelConfig)
    return Runs(config)
