"""The RDMA devices of the host and their ports, from `/sys/class/infiniband`.

Sources: the kernel's Documentation/ABI/stable/sysfs-class-infiniband, and what the drivers make of it. Every file
is read apart from the others, so one broken device hides none; on a live host a driver that hangs is left behind.
Called by `host`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final

from ..netdev import Netdev, numa_node, pci_address, pci_path
from ..patience import answers_within
from ..reading import Reading
from ..sources.files import HostFiles
from .device import RdmaDevice, RdmaPort
from .identity import (
    bond_of,
    driver_of,
    management_by_vpd,
    management_without_vpd,
    physical_function_of,
    software_interface,
)
from .ports import Beside, after_number, read_port, read_tables
from .usable import judged_device
from .verbs import VerbsDevice, VerbsQuestion, find_pyverbs
from .verbs_node import VerbsNodes

__all__ = ["probe_rdma"]

_FOLDER: Final = "sys/class/infiniband"
# The interfaces may take 0.6 s of the 2 s that a probe may wait for drivers; this is for all the rest.
_LIMIT_S: Final = 1.3
_SYSFS_LIMIT_S: Final = 0.9
_VPD_BYTES: Final = 4096
# Vital product data are read word by word from the device; all devices are asked side by side.
_VPD_LIMIT_S: Final = 0.3


def probe_rdma(
    files: HostFiles, netdevs: tuple[Netdev, ...], environ: Mapping[str, str]
) -> Reading[tuple[RdmaDevice, ...]]:
    """Returns the RDMA devices in natural order.

    No directory at all is a kernel without RDMA modules: no devices. Only a directory that exists and cannot be
    listed is unreadable. A name that leads nowhere is left out, as the kernel's own tools do. Blocks for no more
    than 2 s, whatever a driver does.

    Args:
        files: the host's files.
        netdevs: its interfaces.
        environ: where libibverbs is looked for, on a live host.
    """
    listed = files.names(_FOLDER)
    if listed.value is None:
        if not files.exists(_FOLDER):
            return Reading((), listed.source)
        return Reading.unreadable(listed.source, listed.reason)
    names = [name for name in listed.value if files.exists(f"{_FOLDER}/{name}")]
    deadline = time.monotonic() + _LIMIT_S
    by_pci = _by_pci(files, names)
    by_name = {netdev.name: netdev for netdev in netdevs}
    tasks: list[Callable[[], RdmaDevice]] = [partial(_device, files, name, by_name, by_pci) for name in names]
    answers = answers_within(_SYSFS_LIMIT_S, tasks) if files.live else [task() for task in tasks]
    answering = [device for device in answers if device is not None]
    managing = _management(files, answering, deadline)
    verbs, problem = _verbs(answering, environ, deadline) if files.live and answering else ({}, "")
    nodes = VerbsNodes(files)
    found: list[RdmaDevice] = []
    for name, device in zip(names, answers, strict=True):
        if device is None:
            found.append(_silent(name))
            continue
        node = nodes.of(name)
        device = replace(device, management=managing[name], verbs_node=node.node)
        asked = verbs.get(name)
        found.append(judged_device(_with_verbs(device, asked, problem), node, asked, live=files.live))
    return Reading(tuple(found), listed.source)


def _management(files: HostFiles, devices: list[RdmaDevice], deadline: float) -> dict[str, Reading[bool]]:
    """Returns which device manages a switch, by name; VPD are slow, and read only where they could say so."""
    known: dict[str, Reading[bool]] = {}
    tasks: dict[str, Callable[[], Reading[bytes]]] = {}
    for device in devices:
        answer = management_without_vpd(device.node_type, [port.link_layer.value for port in device.ports])
        if answer is None:
            function = pci_path(files, f"{_FOLDER}/{device.name}").value or f"{_FOLDER}/{device.name}/device"
            tasks[device.name] = partial(files.bytes_of, f"{function}/vpd", _VPD_BYTES)
        else:
            known[device.name] = answer
    if files.live:
        limit = min(_VPD_LIMIT_S, deadline - time.monotonic())
        answers = answers_within(limit, list(tasks.values()), side_by_side=True)
    else:
        answers = [task() for task in tasks.values()]
    for name, vpd in zip(tasks, answers, strict=True):
        late: Reading[bytes] = Reading.unreadable(f"/{_FOLDER}/{name}/device/vpd", "was not answered in time")
        known[name] = management_by_vpd(late if vpd is None else vpd)
    return known


def _verbs(
    devices: list[RdmaDevice], environ: Mapping[str, str], deadline: float
) -> tuple[dict[str, VerbsDevice], str]:
    """Returns what libibverbs says, and what kept it from saying more.

    Only the devices that answered so far are asked: one that hangs would hide the others.
    """
    ports = {device.name: max((port.number for port in device.ports), default=0) for device in devices}
    question = VerbsQuestion(ports, environ, find_pyverbs())
    return question.answers(max(0.1, deadline - time.monotonic())), question.problem


def _with_verbs(device: RdmaDevice, verbs: VerbsDevice | None, problem: str) -> RdmaDevice:
    ports: list[RdmaPort] = []
    for port in device.ports:
        asked = None if verbs is None else verbs.ports.get(port.number)
        if asked is not None and asked.active_mtu is not None:
            port = replace(port, mtu=Reading(asked.active_mtu, "ibv_query_port"))
        elif not port.mtu.known and problem:
            port = replace(port, mtu=Reading.unreadable(port.mtu.source, f"{port.mtu.reason}; {problem}"))
        if asked is not None and not port.gid_table_length.known:
            port = replace(port, gid_table_length=Reading(asked.gid_table_length, "ibv_query_port"))
        ports.append(port)
    return replace(device, ports=tuple(ports))


def _by_pci(files: HostFiles, names: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in names:
        address = pci_address(files, f"{_FOLDER}/{name}").value
        if address is not None:
            # Subfunctions share the address of the function that they are part of, which is listed first.
            found.setdefault(address, name)
    return found


def _device(files: HostFiles, name: str, netdevs: Mapping[str, Netdev], by_pci: Mapping[str, str]) -> RdmaDevice:
    place = f"{_FOLDER}/{name}"
    node_type = files.text(f"{place}/node_type").convert(after_number, "a node type")
    board = files.text(f"{place}/hca_type")
    function = pci_path(files, place).value
    owner = physical_function_of(files, function, by_pci)
    own = _netdevs(files, place, function)
    tables = read_tables(files, place)
    of_gids = [name for table in tables for name in table.netdevs]
    bond = bond_of(files, own.otherwise(()), of_gids, netdevs)
    beside = Beside(node_type.value, own.otherwise(()), bond.value, owner.known, netdevs)
    unasked: Reading[Any] = Reading.unreadable(f"/{place}", "was not asked")
    return RdmaDevice(
        name=name,
        node_type=node_type,
        board=board if board.known else files.text(f"{place}/board_id"),
        firmware=files.text(f"{place}/fw_ver"),
        node_guid=files.text(f"{place}/node_guid"),
        driver=driver_of(files, place, function, node_type),
        pci=pci_address(files, place),
        numa_node=numa_node(files, place),
        netdevs=own,
        physical_function=owner,
        bond=bond,
        management=unasked,
        verbs_node=unasked,
        ports=tuple(read_port(files, name, table, len(tables), beside) for table in tables),
    )


def _netdevs(files: HostFiles, place: str, function: str | None) -> Reading[tuple[str, ...]]:
    own = files.names(f"{place}/device/net")
    if not own.known and function is not None:
        # An auxiliary device shares the interfaces of the PCI function that it is part of.
        own = files.names(f"{function}/net")
    if own.known:
        return own
    # Software devices have no device of their own and name the interface that they run on.
    parent = software_interface(files, place)
    return Reading((parent.value,), parent.source) if parent.value is not None else own


def _silent(name: str) -> RdmaDevice:
    hung: Reading[Any] = Reading.unreadable(f"/{_FOLDER}/{name}", f"did not answer within {_SYSFS_LIMIT_S} s")
    return RdmaDevice(
        name=name,
        node_type=hung,
        board=hung,
        firmware=hung,
        node_guid=hung,
        driver=hung,
        pci=hung,
        numa_node=hung,
        netdevs=hung,
        physical_function=hung,
        bond=hung,
        management=hung,
        verbs_node=hung,
        ports=(),
        why_not=f"Its driver did not answer within {_SYSFS_LIMIT_S} s: look for its name in dmesg.",
    )
