"""Checks of the source itself: what it does not tell, and what no program may read that is not root."""

from __future__ import annotations

from ..finding import Evidence, Finding, Severity
from .check import Check, Rule
from .evidence import listed
from .view import HostView

__all__ = ["CHECKS"]

_MISSING = Rule(
    "facts-missing",
    "What the source of the host's facts does not tell",
    "A tree of kernel files holds no limits of a shell, no rights on device nodes, no packages and no variables, and a "
    "topology file holds nothing but where devices sit. Checks that need them find nothing, which is no all-clear.",
    ("pdpanel: probe --dump, probe.pyz",),
)
_BY_HAND = Rule(
    "not-checkable",
    "What has to be looked at by hand",
    "Some settings are shown to root or by a vendor's tool alone, and others lie outside of the host. They are listed "
    "with the commands that show them, so that nobody takes silence for an all-clear.",
    ("NVIDIA: mlnx_qos", "NVIDIA: Xid errors", "InfiniBand annex 17: RoCE v2 uses UDP 4791"),
)
_MEANING = {
    "addresses": "IP addresses",
    "clock": "whether the clock is kept in step",
    "devices": "rights on device nodes",
    "environ": "variables",
    "hostname_addresses": "what the host's name resolves to",
    "libraries": "shared libraries",
    "packages": "Python packages",
    "space": "room in /dev/shm and on disk",
}


def facts_missing(view: HostView) -> list[Finding]:
    """Says in one finding what is not known, and how to make a source that tells it."""
    missing = view.state.facts_missing
    if not missing:
        return []
    known = [_MEANING.get(name, name) for name in missing]
    return [
        _MISSING.finding(
            Severity.INFO if view.host.live else Severity.UNKNOWN,
            f"facts of this {view.host.source} source",
            [Evidence("facts", f"without {name} ({meaning})") for name, meaning in zip(missing, known, strict=True)],
            f"Not known, and not checked: {listed(known)}.",
            "On the host itself run `pdpanel probe --dump node.tar.gz`, or `ssh node python3 - < probe.pyz > "
            "node.tar.gz` where nothing is installed, and check that file.",
        )
    ]


def not_checkable(view: HostView) -> list[Finding]:
    """Lists what concerns this host and cannot be read here."""
    roce = next(
        (
            name
            for nic, port in view.chosen_ports
            for name in (*port.netdevs, nic.name)
            if port.link_layer.value == "Ethernet"
        ),
        "",
    )
    commands: list[tuple[str, str]] = []
    if roce:
        commands.append(("PFC and ECN of RoCE", f"mlnx_qos -i {roce}, or dcb pfc show dev {roce}"))
        commands.append(("a firewall in the way of RoCE v2", "nft list ruleset | grep 4791, here and at the peer"))
    if view.active_nics:
        commands.append(("PCI Express read request size of NICs", "sudo lspci -vvv | grep MaxReadReq"))
    if view.nvidia_gpus:
        commands.append(("Xid errors of GPUs", "sudo dmesg | grep -i xid"))
    if not commands:
        return []
    return [
        _BY_HAND.finding(
            Severity.INFO,
            listed(what for what, _ in commands),
            [Evidence(what, "is not readable by a program without rights") for what, _ in commands],
            "These decide over speed and failures too, and were not looked at.",
            "; ".join(command for _, command in commands),
        )
    ]


CHECKS: tuple[Check[HostView], ...] = (
    Check(_MISSING, facts_missing),
    Check(_BY_HAND, not_checkable),
)
