"""`pdpanel profile`: what the time of one worker goes into, as traces for Perfetto and one page.

A thin shell around `panel.profile`; `panel.cli` calls `register`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .config import PanelConfig

if TYPE_CHECKING:
    from .profile import Profiles

__all__ = ["register", "summary_text"]

_LONGEST_S = 30.0


def register(app: typer.Typer) -> None:
    """Adds the command to `app`."""
    app.command("profile")(profile)


def profile(
    context: typer.Context,
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run.")],
    process: Annotated[str, typer.Argument(metavar="PROCESS", help="A worker of it, such as decode-0.")],
    seconds: Annotated[
        float, typer.Option(metavar="N", min=0.1, max=_LONGEST_S, help="For how long; half a minute at most.")
    ] = 5.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Profile a worker for a while: writes a trace per rank and prints what took the time."""
    from .profile import Profiles
    from .runs import Runs

    assert isinstance(context.obj, PanelConfig)
    profiles = Profiles(Runs(context.obj).plan)
    status = profiles.record(run, process, seconds)
    pages = _pages(profiles, run, process, status)
    if as_json:
        typer.echo(json.dumps({**status, "summaries": pages}, indent=2))
    else:
        typer.echo("\n\n".join(summary_text(page, rank, len(pages)) for rank, page in pages.items()))
        typer.echo("\nTraces, which ui.perfetto.dev opens:")
        for file in status["files"]:
            typer.echo(f"  {file['path']}")
    if status["error"]:
        typer.echo(status["error"], err=True)
        raise typer.Exit(1)


def _pages(profiles: Profiles, run: str, process: str, status: Mapping[str, Any]) -> dict[int, Mapping[str, Any]]:
    here = [file["rank"] for file in status["files"] if file["bytes"] is not None]
    return {rank: profiles.summary(run, process, rank) for rank in here}


def _step_line(step: Mapping[str, Any]) -> str:
    each = f"{1000 * step['seconds'] / step['count']:.1f} ms each, {1000 * step['longest_s']:.1f} the longest"
    exchange = f", {step['exchange_s'] / step['seconds']:.0%} exchange" if step["exchange_s"] else ""
    return f"  {step['name']:<32}{step['seconds']:>9.3f} s in {step['count']}: {each}{exchange}"


def summary_text(page: Mapping[str, Any], rank: int = 0, ranks: int = 1) -> str:
    """Returns a summary as a page of text."""
    whole = page["seconds"] or 1.0
    head = f"Rank {rank}: " if ranks > 1 else ""
    lines = [f"{head}{page['seconds']:.2f} s of the thread that computes"]
    for name, title in (
        ("compute_s", "computing"),
        ("exchange_s", "exchange with other ranks"),
        ("copy_s", "copying KV to and from staging"),
        ("wait_s", "waiting for work"),
    ):
        lines.append(f"  {title:<32}{page[name]:>9.3f} s{page[name] / whole:>7.0%}")
    if page["transfer_s"]:
        hidden = page["hidden_s"] / page["transfer_s"]
        lines.append(
            f"  {'KV under way beside that':<32}{page['transfer_s']:>9.3f} s, {hidden:.0%} of it hidden by work"
        )
    if page["gpu_s"]:
        lines.append(f"  {'GPU busy':<32}{page['gpu_s']:>9.3f} s{page['gpu_s'] / whole:>7.0%}")
    lines += [_step_line(one) for one in page["steps"]]
    if page["operators"]:
        lines += ["", f"  {'operator':<40}{'itself':>10}{'share':>8}{'calls':>9}"]
    steps = {one["name"] for one in page["steps"]}
    for one in page["operators"]:
        name = f"{one['name']}: between operators" if one["name"] in steps else one["name"]
        lines.append(f"  {name[:40]:<40}{one['self_s']:>8.3f} s{one['share']:>8.1%}{one['count']:>9}")
    if not page["complete"]:
        lines.append(f"  Of a longer trace the first {page['events']} events were read.")
    return "\n".join(lines)
