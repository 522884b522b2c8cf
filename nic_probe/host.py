"""All that is known of one host, in one value. Called by the panel and by `checks`.

The same value comes from the live machine, from a capture of its files and from a topology file; what a source
does not hold is a `Reading` with the reason.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass

from .cpu import Cpu, probe_cpu
from .dump import collect_facts
from .gpus.gpu import Gpus
from .gpus.libraries import start_gpu_child
from .gpus.probe import probe_gpus
from .memory import Memory, probe_memory
from .netdev import Netdev, probe_netdevs
from .nics.device import RdmaDevice
from .nics.sysfs import probe_rdma
from .reading import Reading
from .sources.files import HostFiles
from .sources.memory import MemoryTree
from .sources.topology_file import XmlHost
from .state.host_state import HostState, probe_state
from .topology.pci import PciTree, probe_pci

__all__ = ["Host", "host_of_topology", "probe_host", "this_host_files"]


@dataclass(frozen=True, slots=True)
class Host:
    """One host at one moment.

    Attributes:
        live: True for the machine that we run on, False for a capture of one.
        source: what showed the devices' places: sysfs, hwloc or nccl.
        kernel: the kernel's release.
        rdma: an empty tuple on a host without RDMA; unreadable only when the host does not let us look.
        ibverbs: the name under which the RDMA user library loads; Mooncake does not import without it.
        state: what only the checks look at.
        notes: one sentence for whatever is odd about the source.
    """

    live: bool
    source: str
    name: Reading[str]
    kernel: Reading[str]
    os: Reading[str]
    cpu: Cpu
    memory: Memory
    netdevs: tuple[Netdev, ...]
    rdma: Reading[tuple[RdmaDevice, ...]]
    gpus: Gpus
    pci: PciTree
    ibverbs: Reading[str]
    state: HostState
    notes: tuple[str, ...] = ()


def this_host_files(environ: Mapping[str, str]) -> HostFiles:
    """Returns the files of the machine that we run on, with the facts that no file holds."""
    return HostFiles(facts=lambda: collect_facts(environ))


def probe_host(files: HostFiles, environ: Mapping[str, str]) -> Host:
    """Returns what the host is, from its kernel's files and facts.

    Takes some milliseconds for each device, at most 2 s more when a driver hangs, and blocks meanwhile: call
    it from a thread. Raises nothing: whatever cannot be read is a `Reading` with the reason.

    Args:
        files: the files of the host; `this_host_files` for the machine that we run on.
        environ: the variables that a worker on the live host would inherit; a capture brings its own.
    """
    if not files.live:
        environ = _captured_environ(files)
    # The libraries answer from a process of their own, so the kernel's files are read meanwhile.
    libraries = start_gpu_child(environ) if files.live else None
    netdevs = probe_netdevs(files)
    rdma = probe_rdma(files, netdevs, environ)
    gpus = probe_gpus(files, environ, libraries)
    addresses = [gpu.pci for gpu in gpus.devices]
    addresses += [nic.pci.value for nic in rdma.otherwise(()) if nic.pci.value is not None]
    pci = probe_pci(files, addresses)
    return Host(
        live=files.live,
        source="sysfs",
        name=files.text("proc/sys/kernel/hostname"),
        kernel=Reading(platform.release(), "uname") if files.live else files.text("proc/sys/kernel/osrelease"),
        os=files.text("etc/os-release").convert(_pretty_name, "the name of a system"),
        cpu=probe_cpu(files),
        memory=probe_memory(files),
        netdevs=netdevs,
        rdma=rdma,
        gpus=gpus,
        pci=pci,
        ibverbs=_library(files, "libibverbs.so.1"),
        state=probe_state(files, environ, sorted(pci.devices)),
    )


def host_of_topology(xml: XmlHost) -> Host:
    """Returns the host that a topology file describes; such a file says nothing but where devices sit."""
    nothing = HostFiles(MemoryTree({}))
    unknown = probe_host(nothing, {})
    return Host(
        live=False,
        source=xml.source,
        name=xml.name,
        kernel=unknown.kernel,
        os=unknown.os,
        cpu=Cpu(
            model=unknown.cpu.model,
            sockets=unknown.cpu.sockets,
            cores=unknown.cpu.cores,
            threads=unknown.cpu.threads,
            instruction_sets=(),
            numa_nodes=xml.numa_nodes,
        ),
        memory=unknown.memory,
        netdevs=xml.netdevs,
        rdma=Reading(xml.rdma, xml.source),
        gpus=Gpus(xml.gpus, unknown.gpus.driver_version, unknown.gpus.runtime_version),
        pci=xml.pci,
        ibverbs=unknown.ibverbs,
        state=unknown.state,
        notes=xml.notes,
    )


def _captured_environ(files: HostFiles) -> dict[str, str]:
    environ = files.facts().get("environ")
    pairs = environ.items() if isinstance(environ, dict) else ()
    return {name: value for name, value in pairs if isinstance(name, str) and isinstance(value, str)}


def _pretty_name(release: str) -> str | None:
    for line in release.splitlines():
        key, _, value = line.partition("=")
        if key == "PRETTY_NAME":
            return value.strip("\"'") or None
    return None


def _library(files: HostFiles, name: str) -> Reading[str]:
    libraries = files.facts().get("libraries")
    error = libraries.get(name) if isinstance(libraries, dict) else None
    if not isinstance(error, str):
        return Reading.unreadable("loader", "was not tried" if files.live else "the capture does not say")
    return Reading(name, "loader") if not error else Reading.unreadable("loader", error)
