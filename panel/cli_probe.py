"""What the commands probe and topology do and print, and where they and the doctor read a host from.

`panel.cli` parses the arguments. Nothing here imports torch or gradio, or writes but to a file that the
person named.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from ..engine.errors import ConfigError
from ..nic_probe import Host, Topology, host_of_topology, probe_document, probe_host, survey_topology
from ..nic_probe.dump import opened_at_once, standalone_source, write_dump
from ..nic_probe.errors import SourceError
from ..nic_probe.gpus.libraries import gpu_facts
from ..nic_probe.host import this_host_files
from ..nic_probe.sources.capture import open_capture
from ..nic_probe.sources.topology_file import read_topology_file
from ..nic_probe.topology.mooncake import to_mooncake_json
from .config import inherited_environment
from .probe_text import probe_text

__all__ = ["HostSource", "probe", "read_host", "topology"]


@dataclass(frozen=True, slots=True)
class HostSource:
    """Where a host is read from: this machine unless one of the two is given.

    Attributes:
        root: a folder that holds `sys/`, or an archive of one.
        topology: an hwloc or NCCL topology file.
    """

    root: Path | None = None
    topology: Path | None = None


def read_host(source: HostSource) -> tuple[Host, Topology]:
    """Returns the host and its topology.

    Raises:
        ConfigError: the source cannot be read as a host.
    """
    if source.root is not None and source.topology is not None:
        raise ConfigError("--topology", str(source.topology), "cannot go with --root", "give one of them")
    try:
        if source.topology is not None:
            host = host_of_topology(read_topology_file(source.topology))
        elif source.root is not None:
            host = probe_host(open_capture(source.root), {})
        else:
            environ = inherited_environment()
            host = probe_host(this_host_files(environ), environ)
    except SourceError as error:
        raise ConfigError(error.field, error.value, error.problem, error.remedy) from None
    return host, survey_topology(host)


def probe(source: HostSource, *, as_json: bool, dump: Path | None, pyz: Path | None) -> None:
    """Prints what the host is; or writes a dump of this host, or the script that makes one, and says so."""
    if dump is not None or pyz is not None:
        if source != HostSource():
            raise ConfigError("--dump", str(dump or pyz), "cannot go with --root or --topology", "leave those out")
        if pyz is not None:
            _write_script(pyz)
        if dump is not None:
            _write_dump(dump)
        return
    document = probe_document(*read_host(source))
    typer.echo(json.dumps(document, indent=2) if as_json else probe_text(document), nl=as_json)


def _write_dump(path: Path) -> None:
    environ = inherited_environment()
    try:
        summary = write_dump(path, environ=environ, gpus=gpu_facts(environ))
    except OSError as error:
        raise ConfigError("--dump", str(path), error.strerror or "cannot be written", "name another file") from None
    typer.echo(f"{path}: {summary}")


def _write_script(path: Path) -> None:
    try:
        with open(path, "w", encoding="utf-8", opener=opened_at_once) as file:
            file.write(standalone_source())
    except OSError as error:
        raise ConfigError("--pyz", str(path), error.strerror or "cannot be written", "name another file") from None
    typer.echo(f"{path}: run it as `ssh NODE python3 - < {path} > NODE.tar.gz`, then read NODE.tar.gz with --root")


def topology(source: HostSource, *, as_json: bool, mooncake: bool, svg: bool) -> None:
    """Prints how GPUs reach NICs: for people, as JSON, as Mooncake's topology file, or as a picture."""
    if as_json + mooncake + svg > 1:
        raise ConfigError("--json", "", "goes with neither --mooncake nor --svg", "give one of the three")
    host, survey = read_host(source)
    document = probe_document(host, survey)
    if mooncake:
        typer.echo(to_mooncake_json(survey.mooncake), nl=False)
    elif svg:
        from .host_picture import picture_of
        from .host_svg import to_svg

        typer.echo(to_svg(picture_of(document)), nl=False)
    elif as_json:
        keys = (
            *("numa_nodes", "switches", "paths", "mooncake_topology", "mooncake_alone"),
            *("ib_devices", "sglang_ib_device", "notes"),
        )
        answer: dict[str, Any] = {key: document[key] for key in keys}
        typer.echo(json.dumps(answer, indent=2))
    else:
        from .topology_text import topology_text

        typer.echo(topology_text(document), nl=False)
