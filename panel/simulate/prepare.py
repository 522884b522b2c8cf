"""Makes a simulated host ready for use: its state directory, its files, and what the panel has to know of them.

A host that is there already, from the same description, is left as it is: runs may be using it. Called by the command
line before anything else happens.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

from ...engine.errors import ConfigError
from ...nic_probe import Host, probe_host, survey_topology
from ...nic_probe.counters_by_device import counted_devices, counted_links
from ...nic_probe.errors import SourceError
from ...nic_probe.sources.files import HostFiles
from ..config import PanelConfig
from ..file_lock import locked
from ..state_dir import claim_state_dir, on_full_disk
from .catalogue import find_host, shipped
from .description import Description, Suggestion, Traffic, grow_description
from .dumped import write_dump_tree
from .simulation import HOST_FOLDER, Port, Seat, Simulation, simulation_of, write_simulation

__all__ = ["prepare"]

_FOLDER = "simulated"
_VERSION = 1  # of the files that are grown; a new one grows all hosts anew
_GBPS = 125e6
_LOOPBACK = "lo"
_PLAIN = re.compile(r"[^a-z0-9]+")


def prepare(config: PanelConfig, wanted: str) -> tuple[PanelConfig, Simulation]:
    """Returns the folders to use for the simulated host that `wanted` names, with the host, whose files are there.

    Raises:
        ConfigError: no such host, a broken description or dump, or a state directory that cannot be written.
    """
    found = find_host(wanted)
    name = _name(found, wanted)
    mark = _mark(found)
    own = replace(config, state_dir=config.state_dir / _FOLDER / name)
    claim_state_dir(own.state_dir)
    with on_full_disk(own.state_dir), locked(own.state_dir / "prepare.lock"):
        try:
            known = simulation_of(own.state_dir)
        except ConfigError:
            known = None
        if known is not None and known.mark == mark and known.root.is_dir():
            return own, known
        simulation = _grown(found, name, mark, own.state_dir)
        write_simulation(own.state_dir, simulation)
    return own, simulation


def _name(found: Description | Path, wanted: str) -> str:
    """Returns the name of the folder; a host from elsewhere never gets that of one that is shipped."""
    if isinstance(found, Description) and found.name == wanted and wanted in shipped():
        return wanted
    path = os.path.realpath(os.path.expanduser(wanted))
    base = found.name if isinstance(found, Description) else found.name.partition(".")[0]
    plain = _PLAIN.sub("-", base.lower()).strip("-")[:32] or "dump"
    return f"{plain}-{hashlib.sha256(path.encode()).hexdigest()[:8]}"


def _mark(found: Description | Path) -> str:
    if isinstance(found, Description):
        return hashlib.sha256(f"{_VERSION} {found!r}".encode()).hexdigest()
    stat = found.stat()
    return f"{_VERSION} {found} {stat.st_mtime_ns} {stat.st_size}"


def _grown(found: Description | Path, name: str, mark: str, state_dir: Path) -> Simulation:
    root, fresh = state_dir / HOST_FOLDER, state_dir / f"{HOST_FOLDER}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    if isinstance(found, Description):
        grow_description(found, fresh)
        title, traffic, suggestion = found.title, found.traffic, found.suggestion
    else:
        try:
            write_dump_tree(found, fresh)
        except SourceError as error:
            raise ConfigError("--simulate", error.value, error.problem, error.remedy) from None
        title, traffic, suggestion = f"dump {found.name}", Traffic(), Suggestion()
    shutil.rmtree(root, ignore_errors=True)
    fresh.rename(root)
    files = HostFiles(root)
    return Simulation(
        name=name,
        title=title,
        kv_scale=traffic.kv_scale,
        idle_bytes_per_s=traffic.idle_bytes_per_s,
        seats=_seats(probe_host(files, {})),
        ports=_ports(files),
        suggestion={"prefill": suggestion.prefill, "decode": suggestion.decode},
        mark=mark,
        folder=str(state_dir),
    )


def _seats(host: Host) -> tuple[Seat, ...]:
    nearest = survey_topology(host).ib_devices
    numbered = sorted(enumerate(host.gpus.devices), key=lambda pair: pair[1].cuda_index.otherwise(pair[0]))
    return tuple(
        Seat(str(number), float(gpu.memory_total_bytes.otherwise(0)), tuple(nearest.get(gpu.pci, ())))
        for number, (_, gpu) in enumerate(numbered)
    )


def _ports(files: HostFiles) -> tuple[Port, ...]:
    found: list[Port] = []
    for device in counted_devices(files):
        for link in counted_links(files, device):
            is_port = ":" in link.key
            sources = link.sources
            # An RDMA port that only its interface counts would count for the interface, too.
            if not (sources.tx and sources.rx) or not (is_port or link.key == _LOOPBACK):
                continue
            line = files.text(link.rate_path).otherwise("") if link.rate_path else ""
            gbps = re.match(r"[0-9.]+(?= Gb/sec)", line)
            tx, rx = sources.tx[0], sources.rx[0]
            found.append(Port(link.key, tx.path, rx.path, tx.factor, float(gbps[0]) * _GBPS if gbps else None))
    return tuple(found)
