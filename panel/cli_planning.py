"""The commands around a deployment that start nothing: render, schema and their like.

A thin shell, as `panel.cli`, which calls `register`: each command imports what it needs when it is called.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .cli_plan_command import plan_command
from .simulate.simulation import simulation_of

__all__ = ["register"]

DeploymentArgument = Annotated[
    Path, typer.Argument(metavar="DEPLOYMENT.yaml", show_default=False, help="A deployment file.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    """Adds the commands to `app`."""
    app.command("render")(_render)
    app.command("plan")(plan_command)
    app.command("schema")(_schema)
    app.command("presets")(_presets)
    app.command("export")(_export)
    app.command("flags")(_flags)
    app.command("lint")(_lint)
    app.command("import")(_import)


def _render(deployment: DeploymentArgument, as_json: JsonOption = False) -> None:
    """Print the config files and launch commands of a deployment."""
    from . import cli_render

    raise typer.Exit(cli_render.render(deployment, as_json=as_json))


def _schema() -> None:
    """Print the JSON schema of a deployment file."""
    from . import cli_render

    cli_render.schema()


def _export(
    context: typer.Context,
    deployment: DeploymentArgument,
    form: Annotated[
        str,
        typer.Option("--format", metavar="FORMAT", help="sh, env, compose, systemd, slurm, k8s or notebook."),
    ] = "sh",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="DIR", help="The folder to write the files into.")
    ] = None,
    archive: Annotated[
        Path | None, typer.Option("--zip", metavar="FILE", help="Write the files into one zip file.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that are there.")] = False,
) -> None:
    """Write a deployment as files to take away: scripts, units, manifests."""
    from . import cli_export

    simulation = simulation_of(context.obj.state_dir)
    told = simulation.told if simulation else ""
    raise typer.Exit(cli_export.export(deployment, form, output, archive, force=force, told=told))


def _presets(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", show_default=False, help="Print this preset as a deployment file.")
    ] = None,
    search: Annotated[str, typer.Option(metavar="WORDS", help="Show those alone that hold all of these words.")] = "",
    as_json: JsonOption = False,
) -> None:
    """List the presets: published recipes, the bundled engine's, and your own."""
    from . import cli_presets
    from .config import PanelConfig

    assert isinstance(context.obj, PanelConfig)
    if name is not None:
        cli_presets.show_preset(context.obj.config_dir, name, as_json=as_json)
    else:
        cli_presets.presets(context.obj.config_dir, search, as_json=as_json)


def _flags(
    deployment: Annotated[
        Path | None, typer.Argument(metavar="DEPLOYMENT.yaml", show_default=False, help="Judge its commands.")
    ] = None,
    engine: Annotated[str, typer.Option(metavar="NAME", help="sglang, vllm or sglang-router.")] = "sglang",
    python: Annotated[
        str | None, typer.Option(metavar="PATH", help="The interpreter that has the engine installed.")
    ] = None,
    version: Annotated[
        str | None, typer.Option(metavar="X.Y.Z", help="A release in place of an installed engine.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the options that an engine knows, or those of a deployment that it does not."""
    from . import cli_flags

    raise typer.Exit(cli_flags.flags(engine, deployment, python=python, version=version, as_json=as_json))


def _lint(
    file: Annotated[
        Path, typer.Argument(metavar="FILE|-", show_default=False, help="A command, script or config; - is stdin.")
    ],
    as_json: JsonOption = False,
    fix: Annotated[bool, typer.Option("--fix", help="Print the corrected text; findings go to stderr.")] = False,
    engine_version: Annotated[
        str, typer.Option("--engine-version", metavar="X", help="The engine's version where the text has none.")
    ] = "",
) -> None:
    """Say what is wrong with launch commands, scripts, configs and compose files."""
    from . import cli_lint

    raise typer.Exit(cli_lint.lint(file, as_json=as_json, fix=fix, engine_version=engine_version))


def _import(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FILE|-", show_default=False, help="Scripts and configs; - or none is stdin."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="DEPLOYMENT.yaml", help="The file to write.")
    ] = None,
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="The deployment's name.")] = "imported",
    as_json: JsonOption = False,
) -> None:
    """Turn launch commands into a deployment file."""
    from . import cli_lint

    raise typer.Exit(cli_lint.import_files(files or [], output=output, name=name, as_json=as_json))
