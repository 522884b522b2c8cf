"""`pdpanel attach`: watch a deployment that the panel did not start.

A thin shell around `panel.attach`: `panel.cli` calls `register`. The key is read from a file or standard input, since
what stands on a command line everybody on the host can read.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from ..engine.errors import ConfigError, ConflictError
from .config import PanelConfig

__all__ = ["register"]

_UrlOption = Annotated[list[str] | None, typer.Option(metavar="URL", help="A worker of this role; may be repeated.")]


def register(app: typer.Typer) -> None:
    """Adds the command to `app`."""
    app.command("attach")(_attach)
    app.command("detach")(_detach)


def _attach(
    context: typer.Context,
    router: Annotated[str, typer.Option(metavar="URL", help="The router, which may name its workers.")] = "",
    prefill: _UrlOption = None,
    decode: _UrlOption = None,
    unified: _UrlOption = None,
    worker: Annotated[
        list[str] | None, typer.Option(metavar="URL", help="A worker that tells its role itself; may be repeated.")
    ] = None,
    logs: Annotated[
        Path | None,
        typer.Option(metavar="DIR", readable=False, help="A folder of logs, such as prefill_NODE0.log."),
    ] = None,
    log: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", readable=False, help="A single log; may be repeated.")
    ] = None,
    api_key_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE|-", readable=False, help="A file that holds the API key; - is standard input."),
    ] = None,
    name: Annotated[str, typer.Option(help="The run's name.")] = "attached",
) -> None:
    """Watch a deployment that was started elsewhere: metrics, health and logs; `pdpanel detach` ends the watching."""
    from .attach.request import AttachRequest, WantedWorker
    from .launch import Role
    from .runs import Runs

    config = context.obj
    assert isinstance(config, PanelConfig)
    named = ((Role.PREFILL, prefill), (Role.DECODE, decode), (Role.UNIFIED, unified), (None, worker))
    request = AttachRequest(
        name=name,
        router=router,
        workers=tuple(WantedWorker(url, role) for role, urls in named for url in urls or ()),
        api_key=_key(api_key_file),
        log_folder=os.path.abspath(logs) if logs is not None else "",
        logs=tuple(os.path.abspath(path) for path in log or ()),
    )
    from .runner.journal import clean_line

    view = Runs(config).attach(request)
    typer.echo(f"run {view.id} watches {clean_line(view.router_url) or 'what follows'}")
    for process in view.processes:
        where = f"port {process.port}" if process.port else f"log {os.path.realpath(process.log)}"
        typer.echo(f"  {process.name:<12} {clean_line(where)}")
    if view.notice:
        typer.echo(f"  {clean_line(view.notice)}")
    typer.echo(f"detach: pdpanel detach {view.id}")


def _detach(
    context: typer.Context,
    run: Annotated[str, typer.Argument(metavar="RUN", show_default=False, help="An attached run, by its id.")],
) -> None:
    """End the watching of an attached run; its processes are left as they are."""
    from .runs import Runs

    assert isinstance(context.obj, PanelConfig)
    runs = Runs(context.obj)
    if not runs.get(run).attached:
        raise ConflictError("run", run, "was started here, so there is nothing to detach", "use `pdpanel down --run`")
    typer.echo(f"run {runs.stop(run).id} is detached; its processes were left as they are")


def _key(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        text = sys.stdin.read(4096) if str(path) == "-" else path.read_text(encoding="utf-8")[:4096]
    except (OSError, ValueError) as error:
        problem = error.strerror if isinstance(error, OSError) else "is not text"
        raise ConfigError(
            "--api-key-file", str(path), problem or "cannot be read", "name a file with the key"
        ) from None
    return text.strip()
