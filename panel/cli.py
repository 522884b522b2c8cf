"""The command line: `pdpanel` starts the panel; up, down, status and logs work without it.

A thin shell around `panel.runs`. Gradio, fastapi and torch are imported by the panel's own start alone, so
the other commands answer at once. Bad input ends as one sentence and exit code 2.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from ..engine.errors import ConfigError, PdpanelError, RequestError
from . import cli_runs
from .config import PanelConfig, read_config
from .runs import Runs

__all__ = ["app", "main"]

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Serve LLMs with prefill and decode on separate workers. Without a command: start the web panel.",
)

RunOption = Annotated[str | None, typer.Option("--run", metavar="ID", help="The run, by id or by name.")]


def _config(context: typer.Context) -> PanelConfig:
    config = context.obj
    assert isinstance(config, PanelConfig)
    return config


def _runs(context: typer.Context) -> Runs:
    return Runs(_config(context))


def _number(flag: str, text: str | None) -> int | None:
    # Typer's own sentence names neither the value nor what to write.
    if text is None:
        return None
    if not re.fullmatch(r"-?[0-9]{1,9}", text):
        raise ConfigError(flag, text, "is not a whole number", "write one in digits")
    return int(text)


@app.callback(invoke_without_command=True)
def panel(
    context: typer.Context,
    host: Annotated[str, typer.Option(help="Address of the web panel.")] = "127.0.0.1",
    port: Annotated[
        str | None,
        typer.Option(metavar="PORT", help="Port of the web panel.  [default: 7860, or the next free one]"),
    ] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Do not open a browser.")] = False,
    state_dir: Annotated[Path | None, typer.Option(help="Where runs are kept.")] = None,
    cache_dir: Annotated[Path | None, typer.Option(help="Where models are kept.")] = None,
    config_dir: Annotated[Path | None, typer.Option(help="Where your presets are.")] = None,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Serve LLMs with prefill and decode on separate workers. Without a command: start the web panel."""
    context.obj = read_config(state_dir=state_dir, cache_dir=cache_dir, config_dir=config_dir)
    if version:
        from importlib.metadata import version as version_of

        typer.echo(f"pdpanel {version_of('pdpanel')}")
        raise typer.Exit
    if context.invoked_subcommand is not None:
        return
    from .web.serve import serve

    serve(_config(context), host, _number("--port", port), not no_browser)


@app.command()
def up(
    context: typer.Context,
    deployment: Annotated[
        Path | None,
        typer.Argument(metavar="DEPLOYMENT.yaml", show_default=False, help="A deployment file."),
    ] = None,
    preset: Annotated[str | None, typer.Option(help="A preset to start from.")] = None,
    model: Annotated[
        str | None,
        typer.Option(help="A folder, a .gguf file, a catalogue name or a Hub id."),
    ] = None,
    prefill: Annotated[str | None, typer.Option(metavar="N", help="Prefill workers.")] = None,
    decode: Annotated[str | None, typer.Option(metavar="N", help="Decode workers.")] = None,
    unified: Annotated[
        str | None,
        typer.Option(metavar="N", help="Workers that do both, instead of prefill and decode."),
    ] = None,
    transport: Annotated[
        str | None,
        typer.Option(help="What carries the KV cache: mooncake, mooncake_tcp or tcp."),
    ] = None,
    port: Annotated[str | None, typer.Option(metavar="PORT", help="The router's port.")] = None,
    name: Annotated[str | None, typer.Option(help="The run's name.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the deployment file and the commands, and start nothing.")
    ] = False,
) -> None:
    """Start a deployment and wait until it is ready."""
    from .cli_deployment import Edits, assemble

    edits = Edits(
        model=model,
        prefill=_number("--prefill", prefill),
        decode=_number("--decode", decode),
        unified=_number("--unified", unified),
        transport=transport,
        port=_number("--port", port),
        name=name,
    )
    wanted = assemble(deployment, preset, edits)
    if dry_run:
        cli_runs.show_plan(_runs(context), wanted)
    else:
        raise typer.Exit(cli_runs.up(_runs(context), wanted))


@app.command()
def down(
    context: typer.Context,
    run: RunOption = None,
    every: Annotated[bool, typer.Option("--all", help="Stop all runs.")] = False,
) -> None:
    """Stop a run; without --run the only one there is."""
    raise typer.Exit(cli_runs.down(_runs(context), run, every=every))


@app.command()
def status(
    context: typer.Context,
    run: RunOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the runs and their processes."""
    cli_runs.status(_runs(context), run, as_json=as_json)


@app.command()
def logs(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A process such as decode-0, or runner, or model.")],
    run: RunOption = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as the log grows.")] = False,
) -> None:
    """Print the log of a process."""
    cli_runs.logs(_runs(context), name, run, follow=follow)


def main() -> NoReturn:
    """Runs the command line and exits with its code; the entry point of `pdpanel`."""
    try:
        app()
    except PdpanelError as error:
        print(f"pdpanel: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, ConfigError | RequestError) else 1)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)


if __name__ == "__main__":
    main()
