"""The command line: `pdpanel` starts the panel; the commands work without it.

A thin shell: up, down, status and logs are around `panel.runs`, probe, topology and doctor around nic_probe.
Each command imports what it needs and no more, so that it answers at once. Bad input ends as one sentence and
exit code 2.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from ..engine.errors import ConfigError, PdpanelError, RequestError
from . import (
    cli_access,
    cli_app,
    cli_attach,
    cli_bench,
    cli_clone,
    cli_history,
    cli_load,
    cli_planning,
    cli_profile,
    cli_proof,
    cli_report,
    cli_scale,
    cli_simulate,
    cli_supervise,
    cli_verdict,
)
from .cli_audited import AuditedGroup
from .cli_lean import run
from .config import PanelConfig, read_config

if TYPE_CHECKING:
    from .runs import Runs

__all__ = ["app", "main"]

app = typer.Typer(
    cls=AuditedGroup,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Serve LLMs with prefill and decode on separate workers. Without a command: start the web panel.",
)

RunOption = Annotated[str | None, typer.Option("--run", metavar="ID", help="The run, by id or by name.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _config(context: typer.Context) -> PanelConfig:
    config = context.obj
    assert isinstance(config, PanelConfig)
    return config


def _runs(context: typer.Context) -> Runs:
    from .runs import Runs

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
    auth: cli_access.AuthOption = None,
    tls_cert: cli_access.TlsCertOption = None,
    tls_key: cli_access.TlsKeyOption = None,
    behind_proxy: cli_access.BehindProxyOption = False,
    trusted_proxy: cli_access.TrustedProxyOption = None,
    allowed_hosts: cli_access.AllowedHostsOption = None,
    origin: cli_access.OriginOption = None,
    root_path: cli_access.RootPathOption = "",
    token_file: cli_access.TokenFileOption = None,
    webhook: cli_access.WebhookOption = "",
    simulate: cli_simulate.SimulateOption = None,
    in_window: cli_app.AppOption = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Serve LLMs with prefill and decode on separate workers. Without a command: start the web panel."""
    context.obj = read_config(state_dir=state_dir, cache_dir=cache_dir, config_dir=config_dir, webhook=webhook)
    if version:
        from importlib.metadata import version as version_of

        typer.echo(f"pdpanel {version_of('pdpanel')}")
        raise typer.Exit
    context.obj = cli_simulate.on_host(_config(context), simulate)
    if context.invoked_subcommand is not None:
        return
    if in_window:
        cli_app.show(_config(context), host, _number("--port", port))
        return
    from .web.serve import serve

    proxy, names = (behind_proxy, trusted_proxy), (allowed_hosts, origin)
    door = cli_access.open_door(host, auth, (tls_cert, tls_key), proxy, names, root_path, token_file)
    serve(_config(context), host, _number("--port", port), not no_browser, door=door)


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
        typer.Option(help="What carries the KV cache: mooncake, mooncake_tcp, nixl, shm or tcp."),
    ] = None,
    port: Annotated[str | None, typer.Option(metavar="PORT", help="The router's port.")] = None,
    name: Annotated[str | None, typer.Option(help="The run's name.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the deployment file and the commands, and start nothing.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Start the commands that a deployment file brings without asking.")
    ] = False,
    resume: cli_supervise.ResumeOption = False,
    clone: cli_clone.CloneOption = None,
) -> None:
    """Start a deployment and wait until it is ready."""
    from . import cli_runs
    from .cli_deployment import Edits, assemble

    if resume:
        raise typer.Exit(cli_runs.resume(_runs(context), None if deployment is None else str(deployment)))
    edits = Edits(
        model=model,
        prefill=_number("--prefill", prefill),
        decode=_number("--decode", decode),
        unified=_number("--unified", unified),
        transport=transport,
        port=_number("--port", port),
        name=name,
    )
    if clone is not None:
        cli_clone.refuse_others(deployment, preset)
        wanted = cli_clone.cloned(_runs(context), clone, edits)
    else:
        wanted = assemble(deployment, preset, edits, _config(context).config_dir)
    if dry_run:
        cli_runs.show_plan(_runs(context), wanted)
        return
    if deployment is not None:
        from .cli_consent import agree

        agree(_runs(context), wanted, str(deployment), yes=yes)
    raise typer.Exit(cli_runs.up(_runs(context), wanted))


@app.command()
def down(
    context: typer.Context,
    process: Annotated[str | None, typer.Argument(metavar="PROCESS", help="One process; without it, all.")] = None,
    run: RunOption = None,
    every: Annotated[bool, typer.Option("--all", help="Stop all runs.")] = False,
) -> None:
    """Stop a run, or one process of it; without --run the only one there is."""
    from . import cli_runs

    raise typer.Exit(cli_runs.down(_runs(context), run, process, every=every))


@app.command()
def status(
    context: typer.Context,
    run: RunOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the runs and their processes."""
    from . import cli_runs

    cli_runs.status(_runs(context), run, as_json=as_json)


@app.command()
def logs(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="PROCESS", help="A process such as decode-0, or runner, or model.")],
    run: RunOption = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as the log grows.")] = False,
) -> None:
    """Print the log of a process."""
    from . import cli_runs

    cli_runs.logs(_runs(context), name, run, follow=follow)


@app.command()
def probe(
    context: typer.Context,
    as_json: JsonOption = False,
    root: cli_simulate.RootOption = None,
    topology: cli_simulate.TopologyOption = None,
    dump: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            readable=False,
            help="Write a dump of this host, without secrets, that --root reads elsewhere.",
        ),
    ] = None,
    pyz: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            readable=False,
            help="Write the script that makes such a dump on a node with nothing installed.",
        ),
    ] = None,
) -> None:
    """Show the GPUs and RDMA NICs of this host, and which go together."""
    from . import cli_probe

    cli_probe.probe(cli_simulate.host_source(_config(context), root, topology), as_json=as_json, dump=dump, pyz=pyz)


@app.command("topology")
def show_topology(
    context: typer.Context,
    as_json: JsonOption = False,
    mooncake: Annotated[
        bool, typer.Option("--mooncake", help="Print the JSON that MC_CUSTOM_TOPO_JSON names a file of.")
    ] = False,
    svg: Annotated[bool, typer.Option("--svg", help="Print a picture.")] = False,
    root: cli_simulate.RootOption = None,
    topology: cli_simulate.TopologyOption = None,
) -> None:
    """Show how each GPU reaches each NIC, and what Mooncake and SGLang make of it."""
    from . import cli_probe

    source = cli_simulate.host_source(_config(context), root, topology)
    cli_probe.topology(source, as_json=as_json, mooncake=mooncake, svg=svg)


@app.command()
def doctor(
    context: typer.Context,
    as_json: JsonOption = False,
    log: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", readable=False, help="Explain the log of a worker or router; several are compared."
        ),
    ] = None,
    deployment: Annotated[
        Path | None,
        typer.Option(metavar="FILE", readable=False, help="Check a deployment file, or a script of launch commands."),
    ] = None,
    explain: Annotated[str | None, typer.Option(metavar="ID", help="Explain a finding.")] = None,
    list_all: Annotated[bool, typer.Option("--list", help="List everything that is looked for.")] = False,
    root: cli_simulate.RootOption = None,
    topology: cli_simulate.TopologyOption = None,
) -> None:
    """Say what will go wrong on this host, in a deployment or in a log, and how to mend it.

    Exits with 0 when there is no error, with 1 when there is one, with 2 when it could not look.
    """
    from . import cli_doctor

    if list_all or explain is not None:
        cli_doctor.show_rules(explain, as_json=as_json)
        return
    source = cli_simulate.host_source(_config(context), root, topology)
    wanted = cli_doctor.Wanted(source, tuple(log or ()), deployment)
    raise typer.Exit(cli_doctor.doctor(wanted, as_json=as_json))


@app.command("parse-log")
def parse_log(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", show_default=False, help="Logs and result files; - is standard input."),
    ],
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Read the results of benchmarks (MAD, SGLang, vLLM) into one table, and say what is wrong with them."""
    from . import cli_results

    raise typer.Exit(cli_results.parse_logs(files, as_json=as_json, as_csv=as_csv))


@app.command("recipe")
def show_recipe(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", show_default=False, help="A recipe; without it, the list.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set a parameter; may be repeated.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print commands that belong to no deployment: install, docker build, submit, link bench."""
    from . import cli_recipes

    raise typer.Exit(cli_recipes.recipe(name, settings or (), as_json=as_json))


@app.command()
def metadata(
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL", show_default=False, help="http://HOST:PORT/metadata, etcd://HOST:PORT and so on."
        ),
    ],
    as_json: JsonOption = False,
    remove: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Remove what a segment registered; may be repeated.")
    ] = None,
    segment: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Look for a segment where none can be listed.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed, and remove nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Remove even what a living engine registered.")] = False,
) -> None:
    """Show a Mooncake metadata server, what is registered there, and what is wrong."""
    from . import cli_metadata

    code = cli_metadata.metadata(
        url, as_json=as_json, remove=remove or (), segments=segment or (), dry_run=dry_run, force=force
    )
    raise typer.Exit(code)


for _part in (
    *(cli_access, cli_app, cli_attach, cli_planning, cli_bench, cli_supervise, cli_load),
    *(cli_history, cli_report, cli_profile, cli_proof, cli_verdict, cli_scale),
):
    _part.register(app)


def main() -> NoReturn:
    """Runs the command line and exits with its code; the entry point of `pdpanel`."""
    try:
        run(app, sys.argv[1:])
    except PdpanelError as error:
        print(f"pdpanel: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, ConfigError | RequestError) else 1)
    except OSError as error:
        # A folder of runs, presets or models that this user may not use, or a full disk.
        problem = error.strerror or str(error)
        remedy = "make it usable for this user, or name another with --state-dir, --cache-dir or --config-dir"
        told = ConfigError("file", error.filename, problem, remedy)
        if error.filename is None:
            told = ConfigError("output", "standard output", problem, "make room, or write to another place")
        print(f"pdpanel: {told}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)


if __name__ == "__main__":
    main()
