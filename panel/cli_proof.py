"""`pdpanel proof`: which way the KV of a running deployment really travels, with the evidence.

A thin shell around `panel.proof`; `panel.cli` calls `register`. The result is kept with the run.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..engine.errors import ConfigError
from .config import PanelConfig
from .sizes import size_text

if TYPE_CHECKING:
    from .proof.proof import Proof
    from .proof.verdict import Difference
    from .runs import Runs

__all__ = ["register"]

_RunOption = Annotated[str | None, typer.Option("--run", metavar="ID", help="The run; the newest one that is ready.")]
_JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    """Adds the command to `app`."""
    app.command("proof")(proof)


def proof(context: typer.Context, run: _RunOption = None, as_json: _JsonOption = False) -> None:
    """Send test requests to a deployment and say which way its KV travels.

    Ends with 1 when that is not what the deployment asks for, and with 3 when it cannot be told.
    """
    from .proof.keep import keep, key_of_run
    from .proof.proof import encode_proof
    from .proof.verdict import Way
    from .runs import Runs
    from .simulate.proof import prover

    assert isinstance(context.obj, PanelConfig)
    runs = Runs(context.obj)
    run_id = run or _newest(runs)
    last = ""

    def tell(text: str, share: float) -> None:
        nonlocal last
        if text != last and share < 1 and not as_json:
            last = text
            print(f"{text} ...", file=sys.stderr)

    made = prover(runs.simulation, lambda one: key_of_run(runs, one))(run_id, runs.plan(run_id), tell)
    keep(runs, made)
    if as_json:
        plain: Any = json.loads(encode_proof(made))
        typer.echo(json.dumps(plain, indent=2))
    else:
        typer.echo(_text(made), nl=False)
    raise typer.Exit(3 if made.verdict.way is Way.UNKNOWN else 1 if made.verdict.as_asked is False else 0)


def _newest(runs: Runs) -> str:
    ready = next((view.id for view in runs.list() if str(view.state) in {"ready", "degraded"}), None)
    if ready is None:
        raise ConfigError("--run", None, "is not given and no run is ready", "start one, or name one")
    return ready


def _text(made: Proof) -> str:
    moved = "unknown" if made.expected_bytes is None else size_text(made.expected_bytes)
    own = f"Up to {size_text(made.own_bytes)} of it was the deployment's own load, by the rate before."
    lines = [
        made.verdict.sentence,
        "",
        f"KV that the engine moved: {moved} ({made.expected_source or 'no metrics'}), "
        f"{made.requests} requests with {made.prompt_tokens} prompt tokens in {made.seconds:.1f} s",
        *([own] if made.own_bytes else []),
        "",
        f"{'counter':24}{'before':>18}{'after':>18}{'sent':>12}{'received':>12}{'background':>12}",
    ]
    lines += [_row(one) for one in made.evidence]
    return "\n".join(lines) + "\n"


def _row(one: Difference) -> str:
    name = f"{one.kind} {one.name}"
    if one.moved is None or one.before is None or one.after is None:
        return f"{name:24}{one.reason or 'cannot be read'}"
    sent, received = one.moved
    way = 1 if received > sent else 0  # before and after are those of the direction that moved more
    before, after = (f"{total[way]:.0f}" for total in (one.before, one.after))
    usual = size_text(max(one.background))
    return f"{name:24}{before:>18}{after:>18}{size_text(sent):>12}{size_text(received):>12}{usual:>12}"
