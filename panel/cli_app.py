"""`pdpanel app install` and `remove`: the entry in the desktop's menu; and the option `--app` of `pdpanel` itself.

A thin shell around `panel.app`; `panel.cli` calls `register`.
"""

from __future__ import annotations

from typing import Annotated

import typer

from ..engine.errors import ConfigError
from .config import PanelConfig, data_home, read_config

__all__ = ["AppOption", "register", "show"]

AppOption = Annotated[
    bool, typer.Option("--app", help="Show the panel in a window of its own; closing it ends the panel, runs go on.")
]


def show(config: PanelConfig, host: str, port: int | None) -> None:
    """Shows the panel in a window until that is closed.

    Raises:
        ConfigError: `host` is another address, or something cannot be used; PeerError: something did not come up.
    """
    if host != "127.0.0.1":
        raise ConfigError("--host", host, "does not go with --app", "leave out one of them: the window is on this host")
    from .app.window import run_app

    run_app(config, port)


def register(app: typer.Typer) -> None:
    """Adds the commands to `app`."""
    desktop = typer.Typer(
        no_args_is_help=True, rich_markup_mode=None, help="Put the panel into the desktop's menu, or take it out."
    )
    desktop.command("install")(_install)
    desktop.command("remove")(_remove)
    app.add_typer(desktop, name="app")


def _install(context: typer.Context) -> None:
    """Write the menu entry and its icons for this user."""
    from .app.install import install, own_command

    config = context.obj
    assert isinstance(config, PanelConfig)
    usual = read_config({})
    command = own_command()
    for option in ("state_dir", "cache_dir", "config_dir"):
        # What the person said now shall hold when the menu starts it, without their shell.
        if (chosen := getattr(config, option)) != getattr(usual, option):
            command += [f"--{option.replace('_', '-')}", str(chosen)]
    written, complaints = install(data_home(), [*command, "--app"])
    for path in written:
        typer.echo(f"wrote {path}")
    if complaints:
        typer.echo(f"desktop-file-validate says: {complaints}", err=True)


def _remove() -> None:
    """Remove the menu entry and its icons."""
    from .app.install import remove

    removed = remove(data_home())
    for path in removed:
        typer.echo(f"removed {path}")
    if not removed:
        typer.echo("there is no menu entry of this user")
