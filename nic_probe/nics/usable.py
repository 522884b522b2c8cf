"""Whether KV can travel through a port and a device, and if not, why and what to do.

What is judged is what Mooncake's choice of devices (`topology.cpp`) and its queue pairs need; whether a NIC that
can be used should be is another question. Pure. Called by `sysfs`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from .device import RdmaDevice, RdmaPort
from .gids import LAST_RESORT, best_gid
from .verbs import VerbsDevice
from .verbs_node import VerbsNode

__all__ = ["judged_device", "judged_port"]

_IN_WORDS: Final = {
    "Polling": "no cable is plugged in, or the other end is off",
    "Disabled": "enable it, and bring its interface up",
    "Sleep": "the link sleeps; enable it again",
    "Training": "the two ends do not agree; look at the cable and at the speed that the switch's port is set to",
    "LinkErrorRecovery": "the link has errors; replace the cable or the transceiver",
    "ErrRecovery": "the link has errors; replace the cable or the transceiver",
    "Phy Test": "it is in a test mode; enable it again",
    "PhyTest": "it is in a test mode; enable it again",
}
_NO_MANAGER: Final = "no subnet manager serves its fabric; start one (opensm), or connect it to a managed switch"


def judged_port(port: RdmaPort, node_type: str | None, *, virtual: bool) -> RdmaPort:
    """Returns the port with `usable`, `why_not` and `doubts`.

    The first that holds decides:

    1. the state is not known: not known;
    2. the state is not ACTIVE: not usable;
    3. InfiniBand without a LID, or without a subnet manager: not usable;
    4. the GID table cannot be read: not known;
    5. it has no GID: not usable;
    6. else usable. Doubts are: no GID has an interface here, no GID is of RoCE v2, every GID is link-local or of an
       overlay, and iWARP.

    A link layer that reads Unknown, as EFA has it, is no fault.

    Args:
        node_type: of the device; None when it is not known.
        virtual: True for a port of a virtual function.
    """
    usable, why_not = _verdict(port, virtual)
    return replace(port, usable=usable, why_not=why_not, doubts=_doubts(port, node_type) if usable else ())


def _verdict(port: RdmaPort, virtual: bool) -> tuple[bool | None, str]:
    if port.state.value is None:
        return None, f"Its state is not known: {port.state.source} {port.state.reason}."
    infiniband = port.link_layer.value == "InfiniBand"
    if not port.active:
        return False, _inactive(port, port.state.value, infiniband, virtual)
    if infiniband and port.lid.value == 0:
        return False, f"It has no LID: {_NO_MANAGER}."
    if infiniband and port.sm_lid.value == 0:
        return False, f"Its sm_lid is 0: {_NO_MANAGER}."
    if not port.gid_table_length.known and not port.gids:
        table = port.gid_table_length
        return None, f"Its GID table is not known: {table.source} {table.reason}."
    if port.gids:
        return True, ""
    if port.link_layer.value == "Ethernet":
        return False, (
            "Its GID table is empty, since no network interface in this network namespace belongs to it: move the "
            "interface in, or use the host's network (--network=host, hostNetwork: true)."
        )
    return False, "Its GID table is empty: reset the device, or load its driver again."


def _inactive(port: RdmaPort, state: str, infiniband: bool, virtual: bool) -> str:
    physical = port.physical_state.value
    shown = f"The port is {state} ({physical})" if physical else f"The port is {state}"
    if infiniband and state in ("INIT", "ARMED"):
        return f"{shown}: {_NO_MANAGER}."
    advice = _IN_WORDS.get(physical or "")
    if virtual:
        switched_off = "set the virtual function's link state to auto or enable on its physical function (ip link)"
        return f"{shown}: {switched_off}{f', unless {advice}' if physical == 'Polling' else ''}."
    if advice:
        return f"{shown}: {advice}."
    if port.link_layer.value == "Ethernet":
        return f"{shown}: bring its interface {' '.join(port.netdevs)}{' ' if port.netdevs else ''}up."
    return f"{shown}: look at the cable and at the other end."


def _doubts(port: RdmaPort, node_type: str | None) -> tuple[str, ...]:
    doubts: list[str] = []
    best = best_gid(port)
    if node_type == "RNIC":
        doubts.append(
            "It speaks iWARP, whose connections need the RDMA connection manager, which Mooncake does not use."
        )
    elif best is not None and port.link_layer.value not in ("InfiniBand", "Unknown"):
        if best.rank == LAST_RESORT:
            kind = "is of RoCE v2" if best.type.known else f"has a known type ({best.type.reason})"
            doubts.append(f"No GID {kind}; Mooncake takes index {best.index} as its last resort.")
        elif best.rank in (3, 5):
            doubts.append("Its GIDs are link-local or of an overlay: give its interface an IP address.")
        if all(not gid.netdev.known for gid in port.gids):
            doubts.append("No GID has an interface in this network namespace; Mooncake takes one all the same.")
    return tuple(doubts)


def judged_device(device: RdmaDevice, node: VerbsNode, verbs: VerbsDevice | None, *, live: bool) -> RdmaDevice:
    """Returns the device with `usable` and `why_not`; its ports are judged already.

    The first that holds decides, in the order in which Mooncake drops devices:

    1. its node in /dev/infiniband is missing, or this user may not read and write it: not usable;
    2. libibverbs does not know it or cannot open it, where libibverbs could be asked: not usable;
    3. a port is usable: usable, but not known on a live host where nobody looked for the node;
    4. a port is not known: not known;
    5. else not usable.

    Args:
        node: its character device.
        verbs: what libibverbs said; None when it was not asked or said nothing.
        live: False for a capture, which need not say anything of /dev to be of use.
    """
    usable, why_not = _device_verdict(device, node, verbs, live)
    return replace(device, usable=usable, why_not=why_not)


def _device_verdict(
    device: RdmaDevice, node: VerbsNode, verbs: VerbsDevice | None, live: bool
) -> tuple[bool | None, str]:
    if node.accessible is False:
        return False, f"{node.node.source} {node.node.reason}: {node.remedy}."
    if verbs is not None and not verbs.listed:
        return False, "libibverbs does not know it: install its user library (ibverbs-providers, rdma-core)."
    if verbs is not None and verbs.error:
        return False, f"libibverbs cannot open it: {verbs.error.rstrip('.')}."
    if any(port.usable for port in device.ports):
        if node.accessible is None and live:
            return None, f"{node.node.source} {node.node.reason}."
        return True, ""
    if not device.ports:
        return (False, "The kernel shows no port of it.") if live else (None, "The capture holds no port of it.")
    why_not = [
        port.why_not if len(device.ports) == 1 else f"Port {port.number}: {port.why_not}" for port in device.ports
    ]
    unknown = any(port.usable is None for port in device.ports)
    return (None if unknown else False), " ".join(why_not)
