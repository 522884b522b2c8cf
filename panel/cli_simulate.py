"""`pdpanel --simulate HOST`: every command, and the panel, on a host that is made up.

Finds or makes the host, says on stderr that nothing is real, and gives its state directory; the rest of the command
line does not know. `panel.cli` calls `on_host` before anything else, and `host_source` where a host is looked at.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .config import PanelConfig
from .simulate.simulation import simulation_of

if TYPE_CHECKING:
    from .cli_probe import HostSource
    from .simulate.simulation import Simulation

__all__ = ["RootOption", "SimulateOption", "TopologyOption", "host_source", "on_host"]

_LIST = "list"

SimulateOption = Annotated[
    str | None,
    typer.Option(
        "--simulate",
        metavar="HOST",
        help="Use a made-up host: a name (`list` shows them), a description (.toml) or a dump.",
    ),
]

RootOption = Annotated[
    Path | None,
    typer.Option(
        "--root",
        metavar="PATH",
        readable=False,  # Who reads it says what is wrong with it.
        help="Read another host: a folder that holds sys/, or an archive of one.",
    ),
]
TopologyOption = Annotated[
    Path | None,
    typer.Option(
        "--topology", metavar="FILE", readable=False, help="Read another host: an hwloc or NCCL topology file."
    ),
]


def on_host(config: PanelConfig, wanted: str | None) -> PanelConfig:
    """Returns the folders to use; says so when they belong to a simulated host.

    Raises:
        ConfigError: there is no such host.
        typer.Exit: only the list was asked for.
    """
    if wanted == _LIST:
        _list()
        raise typer.Exit
    simulation = None
    if wanted is not None:
        from .simulate.prepare import prepare

        config, simulation = prepare(config, wanted)
    simulation = simulation or simulation_of(config.state_dir)
    if simulation is not None:
        typer.echo(simulation.told, err=True)
    return config


def host_source(config: PanelConfig, root: Path | None, topology: Path | None) -> HostSource:
    """Returns where a command reads a host from: what it was told, else the simulated host, else this machine."""
    from .cli_probe import HostSource

    simulation: Simulation | None = None
    if root is None and topology is None:
        simulation = simulation_of(config.state_dir)
    return HostSource(root if simulation is None else simulation.root, topology)


def _list() -> None:
    from .simulate.catalogue import shipped

    for name, description in shipped().items():
        typer.echo(f"{name:<10}  {description.title}")
