"""`pdpanel history` and `pdpanel prune`: what ended runs came to, and making room.

A thin shell around `panel.history`; `panel.cli` calls `register`. Prune says what it frees before it frees it.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from ..engine.errors import ConfigError
from .config import PanelConfig

if TYPE_CHECKING:
    from .history.prune_plan import PrunePlan
    from .history.run_history import RunHistory
    from .history.summary import RunSummary

__all__ = ["register"]

_JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    """Adds the commands to `app`."""
    app.command("history")(history)
    app.command("prune")(prune)


def _history(context: typer.Context) -> RunHistory:
    from .history.run_history import RunHistory

    assert isinstance(context.obj, PanelConfig)
    return RunHistory(context.obj)


def history(context: typer.Context, as_json: _JsonOption = False) -> None:
    """Show the runs that have ended: how long they ran, what they reached, how much room they take."""
    runs = _history(context).list()
    if as_json:
        typer.echo(json.dumps({"runs": [asdict(run) for run in runs]}))
        return
    if not runs:
        typer.echo("no run has ended yet")
    for run in runs:
        typer.echo(_line(run))


def _line(run: RunSummary) -> str:
    from .runner.journal import clean_line
    from .sizes import size_text

    peaks = run.peaks
    ended = "" if run.ended_s is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(run.ended_s))
    counts = " ".join(f"{count} {role}" for role, count in run.processes.items())
    told = [
        "" if run.duration_s is None else _duration(run.duration_s),
        counts,
        f"{clean_line(run.model)} over {run.transport}" if run.mode == "pd" else clean_line(run.model),
        "" if peaks.kv_bytes_per_s is None else f"KV {size_text(peaks.kv_bytes_per_s)}/s",
        "" if peaks.generated_tokens_per_s is None else f"{peaks.generated_tokens_per_s:.0f} tokens/s",
        "" if peaks.rss_bytes is None else f"{size_text(peaks.rss_bytes)} of memory",
        f"{run.crashes} crashes" if run.crashes > 1 else "1 crash" if run.crashes else "",
        f"{size_text(run.bytes_on_disk)} on disk",
        clean_line(run.notice),
    ]
    return f"{run.id}  {run.state}  {ended}  {', '.join(part for part in told if part)}"


def _duration(seconds: float) -> str:
    for size, name in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {name}"
    return f"{seconds:.0f} s"


def prune(
    context: typer.Context,
    days: Annotated[
        str | None, typer.Option(metavar="N", help="Runs that ended more than N days ago.  [default: 30]")
    ] = None,
    keep: Annotated[str | None, typer.Option(metavar="N", help="Keep the N runs that ended last.")] = None,
    run: Annotated[
        list[str] | None, typer.Option("--run", metavar="ID", help="Exactly this run; may be repeated.")
    ] = None,
    logs: Annotated[bool, typer.Option("--logs", help="Of these runs the logs alone.")] = False,
    samples: Annotated[bool, typer.Option("--samples", help="Of these runs the samples alone.")] = False,
    models: Annotated[bool, typer.Option("--models", help="Models that no remaining run has used, too.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and remove nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: _JsonOption = False,
) -> None:
    """Free what ended runs have left on disk; say first what that is.

    Runs that live, and files that pdpanel did not write, are never touched.
    """
    from .history.prune_plan import PruneWish
    from .sizes import size_text

    found = _history(context)
    wish = PruneWish(
        _number("--days", days), _whole("--keep", keep), tuple(run) if run else None, logs, samples, models
    )
    plan = found.plan(wish)
    if not as_json:
        typer.echo(plan.text)
    if dry_run or not plan.items:
        if as_json:
            typer.echo(_json(plan, removed=False))
        return
    if not yes:
        if as_json or not sys.stdin.isatty():
            raise ConfigError("--yes", False, "is needed where nobody can be asked", "add --yes, or --dry-run to look")
        if not typer.confirm("Remove this?"):
            return
    done = found.prune(plan)
    if as_json:
        typer.echo(_json(done, removed=True))
        return
    typer.echo(f"freed {size_text(done.size_bytes)}")
    removed = {item.paths for item in done.items}
    left = [item.name for item in plan.items if item.paths not in removed]
    if left:
        typer.echo(f"not removed: {', '.join(left)}", err=True)
        raise typer.Exit(1)


def _json(plan: PrunePlan, *, removed: bool) -> str:
    items = [asdict(item) for item in plan.items]
    return json.dumps({"items": items, "size_bytes": plan.size_bytes, "removed": removed})


def _number(flag: str, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 36500:
        raise ConfigError(flag, text, "is not a number of days", "write one from 0 to 36500")
    return value


def _whole(flag: str, text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 9):
        raise ConfigError(flag, text, "is not a whole number", "write one in digits")
    return int(text)
