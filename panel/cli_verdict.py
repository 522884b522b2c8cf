"""`pdpanel verdict`: what limits a running deployment now, with the evidence and what to try.

A thin shell around `panel.verdict`; `panel.cli` calls `register`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from ..engine.errors import ConfigError
from .config import PanelConfig

if TYPE_CHECKING:
    from .runs import Runs
    from .verdict.values import Seen, Verdict

__all__ = ["register"]

_RunOption = Annotated[str | None, typer.Option("--run", metavar="ID", help="The run; the newest one that is ready.")]
_JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    """Adds the command to `app`."""
    app.command("verdict")(verdict)


def verdict(context: typer.Context, run: _RunOption = None, as_json: _JsonOption = False) -> None:
    """Say what limits a deployment now: prefill, decode, transfer, router or nothing; and what to try.

    Ends with 3 when it cannot be told.
    """
    from .runs import Runs
    from .verdict.look import Look
    from .verdict.plain import plain_verdict
    from .verdict.values import Limit

    assert isinstance(context.obj, PanelConfig)
    runs = Runs(context.obj)
    found = Look(runs).verdict(run or _newest(runs))
    typer.echo(json.dumps(plain_verdict(found), indent=2) if as_json else _text(found))
    raise typer.Exit(3 if found.limit is Limit.UNKNOWN else 0)


def _newest(runs: Runs) -> str:
    ready = next((view.id for view in runs.list() if str(view.state) in {"ready", "degraded"}), None)
    if ready is None:
        raise ConfigError("--run", None, "is not given and no run is ready", "start one, or name one")
    return ready


def _text(found: Verdict) -> str:
    lines = [found.sentence]
    if found.suggestions:
        lines += ["", "What to try:", *(f"  - {one.text}" for one in found.suggestions)]
    if found.evidence:
        lines += ["", f"Seen over {found.window_s:.0f} s:"]
        lines += [f"  {one.meaning:<62}{_amount(one):>14}" for one in found.evidence]
    return "\n".join(lines)


def _amount(one: Seen) -> str:
    if one.unit == "share":
        return f"{one.value:.0%}"
    if one.unit == "cores":
        return f"{one.value:.2f} cores"
    if one.unit == "B/s":
        return f"{one.value / 1e6:.2f} MB/s"
    return f"{one.value:.3g} {one.unit}"
