"""Checks of the RDMA ports: state, speed, link layer, subnet manager, MTU, error counters, firmware."""

from __future__ import annotations

from collections.abc import Sequence

from ..finding import Evidence, Finding, Severity
from ..nics.device import RdmaDevice, RdmaPort
from .check import Check, Rule
from .evidence import listed, seen
from .view import HostView

__all__ = ["CHECKS"]

_LARGEST_PACKET = 4096
_ROCE_HEADERS = 96  # GRH, UDP, BTH, XRC, AtomicETH and ICRC.
# Errors of the wire itself. They count since the driver was loaded, so that some of them prove nothing.
_WIRE_ERRORS = (
    *("symbol_error", "link_error_recovery", "link_downed", "local_link_integrity_errors", "rx_icrc_encapsulated"),
    *("excessive_buffer_overrun_errors", "port_rcv_errors", "port_rcv_remote_physical_errors"),
)
_TRANSPORT_ERRORS = (
    *("out_of_sequence", "packet_seq_err", "local_ack_timeout_err", "roce_adp_retrans", "rnr_nak_retry_err"),
    *("retrans_timeout_events", "to_retransmits", "rx_drops", "port_xmit_discards"),
)
_MANY_ERRORS = 1000

_PORT_DOWN = Rule(
    "port-down",
    "RDMA ports that are not ACTIVE",
    "A port that is not ACTIVE carries nothing. Mooncake leaves such a NIC out of its topology without an error, so "
    "the GPUs beside it use a NIC that is farther away.",
    ("kvcache-ai/Mooncake#429", "sgl-project/sglang#8324"),
)
_DEGRADED = Rule(
    "link-degraded",
    "Speed and width of each RDMA port, against ports of the same board",
    "A damaged cable or a wrong setting of the switch lets a port come up with fewer lanes or at a lower speed. "
    "Everything works, and the KV of the GPUs beside it takes several times as long.",
    ("NVIDIA/nccl: net_ib", "rdma-core documentation: ibstatus"),
)
_MIXED = Rule(
    "link-layers-mixed",
    "InfiniBand and Ethernet among the NICs for KV",
    "An InfiniBand port and an Ethernet port cannot talk to each other. Mooncake pairs the NICs of two hosts at "
    "random among the preferred ones, so a mixture makes transfers fail now and then.",
    ("sgl-project/sglang#23003", "NVIDIA/nccl: net_ib"),
)
_SUBNET_MANAGER = Rule(
    "subnet-manager-missing",
    "The subnet manager of each InfiniBand port",
    "InfiniBand needs a subnet manager, in a switch or as a program on one host, that numbers the ports. Without it "
    "a port stays in INIT and carries nothing but management.",
    ("rdma-core documentation: opensm",),
)
_MTU = Rule(
    "rdma-mtu",
    "MTU of the interfaces below RoCE ports",
    "RoCE packets have to fit into the interface's MTU: 1500 gives packets of 1024 bytes, 4200 and more give 4096. "
    "Small ones cost a part of the speed, and two ends that differ may not connect (Failed to modify QP to RTR).",
    ("Linux: iboe_get_mtu", "kvcache-ai/Mooncake#1143"),
)
_ERRORS = Rule(
    "rdma-errors",
    "Error counters of the RDMA ports",
    "Symbol errors and lost links point at a cable or a module, packets out of order and timeouts at a network that "
    "drops packets. The counters start with the driver, so compare two readings before blaming anything.",
    ("Linux ABI: sysfs-class-infiniband", "NVIDIA: understanding mlx5 Linux counters"),
)
_FIRMWARE = Rule(
    "firmware-differs",
    "Firmware of equal RDMA boards",
    "Boards of one kind with different firmware differ in limits and in errors that were fixed. It shows as one NIC "
    "that is slower or fails alone.",
    ("hardware vendors' release notes",),
)


def port_down(view: HostView) -> list[Finding]:
    """Finds ports without a link; other boards of the same kind that have one make it a warning.

    With no ACTIVE port at all, rdma-none has said it.
    """
    alive = {nic.board.value for nic in view.active_nics if nic.board.known}
    found: dict[Severity, list[tuple[RdmaDevice, RdmaPort]]] = {}
    for nic in view.nics if alive or view.active_nics else ():
        down = [port for port in nic.ports if port.state.known and not port.active and port.state.value != "INIT"]
        # The second port of a card and a virtual function are often left unused.
        whole = len(down) == len(nic.ports) and not nic.physical_function.known
        severity = Severity.WARNING if whole and nic.board.value in alive else Severity.INFO
        found.setdefault(severity, []).extend((nic, port) for port in down)
    return [
        _PORT_DOWN.finding(
            severity,
            listed(f"{nic.name} port {port.number}" for nic, port in down),
            [seen(port.state, f"{nic.name}: {port.state}, physically {port.physical_state}") for nic, port in down],
            "Nothing travels through these ports, while other NICs of this host are up (kvcache-ai/Mooncake#429).",
            "Look at the cable and the switch port; `ip link set IFACE up` for a port that is Disabled.",
        )
        for severity, down in found.items()
        if down
    ]


def link_degraded(view: HostView) -> list[Finding]:
    """Compares each ACTIVE port with those of the same board, and finds single lanes on InfiniBand."""
    best: dict[str, float] = {}
    ports = [(nic, port) for nic in view.active_nics for port in nic.ports if port.active]
    for nic, port in ports:
        if nic.board.known and port.rate_gbps.known:
            best[nic.board.otherwise("")] = max(best.get(nic.board.otherwise(""), 0.0), port.rate_gbps.otherwise(0.0))
    uplinks = {netdev.name for netdev in view.host.netdevs if netdev.default_route.value}
    findings: list[Finding] = []
    for nic, port in ports:
        rate = port.rate_gbps.value
        fastest = best.get(nic.board.otherwise(""), 0.0)
        slow = rate is not None and rate < fastest
        one_lane = "(1X " in port.rate.otherwise("") and port.link_layer.value == "InfiniBand"
        if not slow and not one_lane:
            continue
        other = f"; another port of this board runs at {fastest:g} Gb/s" if slow else ""
        findings.append(
            _DEGRADED.finding(
                # A card of the same kind may serve as the uplink, at the speed of that network.
                Severity.INFO if uplinks & set(port.netdevs) else Severity.WARNING,
                f"{nic.name} port {port.number}",
                [seen(port.rate, f"{port.rate}{other}")],
                f"{nic.name} runs {'slower than a NIC of the same kind' if slow else 'on a single lane'}, so transfers "
                "through it take longer.",
                "Reseat or replace the cable, and look at the speed that the switch port is set to.",
                f"{fastest:g} Gb/s" if slow else None,
            )
        )
    return findings


def link_layers_mixed(view: HostView) -> list[Finding]:
    """Finds both link layers among the NICs that KV would take."""
    layers: dict[str, list[RdmaDevice]] = {}
    for nic, port in view.chosen_ports:
        if port.link_layer.value in ("InfiniBand", "Ethernet"):
            layers.setdefault(port.link_layer.otherwise(""), []).append(nic)
    if len(layers) < 2:
        return []
    most = max(layers, key=lambda layer: len(layers[layer]))
    return [
        _MIXED.finding(
            Severity.WARNING,
            "link layers",
            [
                Evidence("link_layer", f"{layer}: {listed(nic.name for nic in nics)}")
                for layer, nics in sorted(layers.items())
            ],
            "KV may be sent from an InfiniBand port to an Ethernet port of the other host, which cannot work.",
            f"Name the NICs of one kind: export MC_TE_FILTERS={_names(layers[most])}",
            _names(layers[most]),
        )
    ]


def subnet_manager_missing(view: HostView) -> list[Finding]:
    """Finds InfiniBand ports that nobody has numbered."""
    findings: list[Finding] = []
    for nic in view.nics:
        for port in nic.ports:
            if port.link_layer.value != "InfiniBand" or not port.sm_lid.known:
                continue
            waiting = port.state.value in ("INIT", "ARMED")
            if not waiting and not (port.active and port.sm_lid.value == 0):
                continue
            findings.append(
                _SUBNET_MANAGER.finding(
                    Severity.WARNING,
                    f"{nic.name} port {port.number}",
                    [seen(port.state), seen(port.sm_lid, f"sm_lid {port.sm_lid.value}")],
                    f"No subnet manager has set up {nic.name}, so it carries no KV.",
                    "Start opensm on one host of the fabric, or the subnet manager of the switch.",
                )
            )
    return findings


def rdma_mtu(view: HostView) -> list[Finding]:
    """Judges the MTU of the interfaces below the RoCE ports that KV would take."""
    mtus: dict[int, list[str]] = {}
    evidence: list[Evidence] = []
    netdevs = {netdev.name: netdev for netdev in view.host.netdevs}
    for nic, port in view.chosen_ports:
        for name in port.netdevs if port.link_layer.value == "Ethernet" else ():
            mtu = netdevs[name].mtu if name in netdevs else None
            if mtu is not None and mtu.value is not None and name not in {n for names in mtus.values() for n in names}:
                mtus.setdefault(mtu.value, []).append(name)
                evidence.append(seen(mtu, f"{mtu.value} ({name}, {nic.name})"))
    packets = {_packet(mtu) for mtu in mtus}
    if not packets or packets == {_LARGEST_PACKET}:
        return []
    wanted = max(mtus) if max(packets) == _LARGEST_PACKET else 9000
    differ = len(packets) > 1
    return [
        _MTU.finding(
            Severity.WARNING if differ else Severity.INFO,
            "MTU",
            evidence,
            "The NICs for KV have different MTUs, and queue pairs between two of them may not come up "
            "(kvcache-ai/Mooncake#1143)."
            if differ
            else f"RoCE sends packets of {max(packets)} bytes, which costs a part of the speed.",
            "; ".join(f"ip link set {name} mtu {wanted}" for name in sorted(_below(mtus, wanted)))
            + ", on every host and switch of this network alike.",
            str(wanted),
        )
    ]


def rdma_errors(view: HostView) -> list[Finding]:
    """Reports error counters that are not zero."""
    found: dict[Severity, list[tuple[str, str]]] = {}
    for nic in view.active_nics:
        for port in nic.ports:
            counters = port.counters.others
            wire = {name: counters[name] for name in _WIRE_ERRORS if counters.get(name, 0) > 0}
            counted = wire | {name: counters[name] for name in _TRANSPORT_ERRORS if counters.get(name, 0) > 0}
            if not port.active or not counted:
                continue
            severity = Severity.WARNING if max(wire.values(), default=0) >= _MANY_ERRORS else Severity.INFO
            text = ", ".join(f"{name} {value}" for name, value in counted.items())
            found.setdefault(severity, []).append((f"{nic.name} port {port.number}", text))
    return [
        _ERRORS.finding(
            severity,
            listed(name for name, _ in ports),
            [Evidence(name, text) for name, text in ports],
            f"These ports have counted {'many errors of the wire' if severity is Severity.WARNING else 'errors'} since "
            "their driver was loaded.",
            "Read the counters again under load; what rises points at the cable (symbol_error, link_downed) or at "
            "a network that drops packets (out_of_sequence: look at PFC and ECN).",
        )
        for severity, ports in found.items()
    ]


def firmware_differs(view: HostView) -> list[Finding]:
    """Compares the firmware of equal boards."""
    boards: dict[str, dict[str, list[str]]] = {}
    for nic in view.nics:
        if nic.board.value is not None and nic.firmware.value is not None:
            boards.setdefault(nic.board.value, {}).setdefault(nic.firmware.value, []).append(nic.name)
    return [
        _FIRMWARE.finding(
            Severity.WARNING,
            f"firmware of {board}",
            [Evidence("fw_ver", f"{version}: {listed(names)}") for version, names in sorted(versions.items())],
            f"NICs of the same board {board} run different firmware, and may behave differently.",
            "Bring all to one version with the vendor's tool (mlxfwmanager, bnxtnvm, nicctl).",
        )
        for board, versions in sorted(boards.items())
        if len(versions) > 1
    ]


def _packet(mtu: int) -> int:
    """Returns the largest RoCE packet that fits, as the kernel's iboe_get_mtu has it."""
    return next((size for size in (4096, 2048, 1024, 512) if size + _ROCE_HEADERS <= mtu), 256)


def _below(mtus: dict[int, list[str]], wanted: int) -> list[str]:
    return [name for mtu, names in mtus.items() if mtu < wanted for name in names]


def _names(nics: Sequence[RdmaDevice]) -> str:
    return ",".join(dict.fromkeys(nic.name for nic in nics))


CHECKS: tuple[Check[HostView], ...] = (
    Check(_PORT_DOWN, port_down),
    Check(_DEGRADED, link_degraded),
    Check(_MIXED, link_layers_mixed),
    Check(_SUBNET_MANAGER, subnet_manager_missing),
    Check(_MTU, rdma_mtu),
    Check(_ERRORS, rdma_errors),
    Check(_FIRMWARE, firmware_differs),
)
