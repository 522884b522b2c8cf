"""Checks of the PCI Express way to GPUs and NICs: width and speed of links, errors, IOMMU, ACS."""

from __future__ import annotations

from collections.abc import Iterator

from ..finding import Evidence, Finding, Severity
from ..state.pci import ROOT_ALONE
from ..topology.pci import PciDevice
from ..topology.survey import PathClass
from .check import Check, Rule
from .evidence import listed, seen
from .view import HostView

__all__ = ["CHECKS"]

_BUSY_PERCENT = 50
# Source validation, and redirection of requests and completions, in the ACS control register.
_ACS_REDIRECTS = 0x1 | 0x4 | 0x8

_WIDTH = Rule(
    "pcie-link-downgraded",
    "Width and speed of the PCI Express links of GPUs and NICs",
    "A card that sits badly, a damaged riser or a slot with fewer lanes halves the bandwidth or worse, and nothing "
    "else changes. Idle GPUs lower the speed of their link on purpose, so that for them only the width counts.",
    ("NVIDIA/nccl: graph/xml", "PCI Express: link status"),
)
_AER = Rule(
    "pcie-errors",
    "PCI Express errors of GPUs, NICs and the bridges above them (AER)",
    "Corrected errors cost time, since each packet is sent again; a link that counts them is about to fail. Fatal and "
    "non-fatal ones lose data and reset devices.",
    ("Linux: Documentation/PCI/pcieaer-howto",),
)
_IOMMU = Rule(
    "iommu-translates",
    "Whether an IOMMU translates what GPUs and NICs write",
    "With translation every access from a NIC to a GPU goes up to the IOMMU at the root and back, and GPUDirect runs "
    "at a part of its speed or not at all. In passthrough mode (iommu=pt) it does not.",
    ("NCCL documentation: troubleshooting, PCI access control services", "ROCm: MI300X system optimization"),
)
_ACS = Rule(
    "acs-redirects",
    "Access control services of PCI bridges (ACS)",
    "With ACS a switch sends traffic between two devices below it up to the root and back, so that GPUDirect between "
    "a GPU and the NIC beside it loses most of its speed. On bare metal turn it off; virtual machines need it.",
    ("NCCL documentation: troubleshooting, PCI access control services",),
)


def pcie_link_downgraded(view: HostView) -> list[Finding]:
    """Compares each link with what both of its ends can do."""
    findings: list[Finding] = []
    judged: set[str] = set()
    for name, device, is_nic, busy in _endpoints(view):
        chain = [place for address in device.chain[1:-1] if (place := view.host.pci.devices.get(address))]
        ends = [*chain, device]
        for index, lower in enumerate(ends):
            upper = ends[index - 1] if index else None
            if lower.address in judged:
                continue
            judged.add(lower.address)
            last = lower is device
            width = _lacking(lower.link.width.value, lower.link.max_width.value, *_widths(upper), last=last)
            speed = None
            if last and (is_nic or busy):
                speed = _lacking(lower.link.speed_gts.value, lower.link.max_speed_gts.value, *_speeds(upper), last=True)
            if width is None and speed is None:
                continue
            subject = f"{name} ({device.address})" if last else f"bridge {lower.address}, above {name}"
            evidence: list[Evidence] = []
            if width is not None:
                evidence.append(seen(lower.link.width, f"x{lower.link.width} of x{width:g}"))
            if speed is not None:
                evidence.append(seen(lower.link.speed_gts, f"{lower.link.speed_gts} of {speed:g} GT/s"))
            findings.append(
                _WIDTH.finding(
                    Severity.WARNING if view.bare_metal or upper is not None else Severity.INFO,
                    subject,
                    evidence,
                    f"The PCI Express link of {subject} runs below what both ends can do, and so does all that goes "
                    "through it.",
                    "Reseat the card, look at the riser and at the slot's setting in the firmware.",
                    f"x{width:g}" if width is not None else f"{speed:g} GT/s",
                )
            )
    return findings


def pcie_errors(view: HostView) -> list[Finding]:
    """Judges the error counts since boot."""
    found: dict[Severity, list[tuple[str, str]]] = {}
    for address, state in sorted(view.state.pci.items()):
        counts = {"fatal": state.fatal, "nonfatal": state.nonfatal, "correctable": state.correctable}
        texts = [f"{count} {kind}" for kind, count in counts.items() if count.value]
        if texts:
            grave = state.fatal.value or state.nonfatal.value
            found.setdefault(Severity.WARNING if grave else Severity.INFO, []).append((address, ", ".join(texts)))
    return [
        _AER.finding(
            severity,
            listed(address for address, _ in counted),
            [Evidence(f"/sys/bus/pci/devices/{address}/aer_dev_*", text) for address, text in counted],
            "The PCI Express links of these devices have had errors since boot, "
            + ("some of which lost data." if severity is Severity.WARNING else "all of them corrected."),
            "Read the counts again under load; reseat the card or the riser when they rise.",
        )
        for severity, counted in found.items()
    ]


def iommu_translates(view: HostView) -> list[Finding]:
    """Reports an IOMMU, and judges one that translates between GPUs and NICs of bare metal."""
    kernel = view.state.kernel
    if not view.host.gpus.devices or not view.active_nics or not kernel.iommu_groups.value:
        return []
    wanted = {gpu.pci for gpu in view.host.gpus.devices} | {nic.pci.otherwise("") for nic in view.active_nics}
    modes = [(address, state.iommu) for address, state in sorted(view.state.pci.items()) if state.iommu.known]
    translated = [
        (address, mode) for address, mode in modes if mode.otherwise("").startswith("DMA") and address in wanted
    ]
    told_not_to = any(word in kernel.command_line.otherwise("").split() for word in ("iommu=pt", "iommu=off"))
    if not translated and (modes or told_not_to):
        return []
    evidence = [seen(kernel.iommu_groups, f"{kernel.iommu_groups} groups")]
    if kernel.command_line.known:
        options = [word for word in kernel.command_line.otherwise("").split() if "iommu" in word]
        evidence.append(seen(kernel.command_line, " ".join(options) or "names no iommu option"))
    evidence += [seen(mode, f"{address}: {mode}") for address, mode in translated[:4]]
    return [
        _IOMMU.finding(
            Severity.WARNING if translated and view.bare_metal else Severity.INFO,
            "IOMMU",
            evidence,
            "The IOMMU translates what GPUs and NICs write, which slows GPUDirect down or stops it."
            if translated
            else "An IOMMU is on, and whether it translates what GPUs and NICs write is not known.",
            "Boot with iommu=pt (with intel_iommu=on or amd_iommu=on), or turn the IOMMU off in the firmware.",
            "iommu=pt",
        )
    ]


def acs_redirects(view: HostView) -> list[Finding]:
    """Finds bridges on the way between a GPU and a NIC that send their traffic to the root."""
    if not view.bare_metal:
        return []
    bridges = _shared_ways(view)
    states = {address: view.state.pci[address].acs for address in sorted(bridges) if address in view.state.pci}
    on = {address: acs for address, acs in states.items() if acs.otherwise(0) & _ACS_REDIRECTS}
    if on:
        return [
            _ACS.finding(
                Severity.WARNING,
                listed(on),
                [seen(acs, f"ACSCtl {acs.otherwise(0):#06x}") for acs in on.values()],
                "These bridges send traffic between GPUs and NICs up to the root and back, so GPUDirect loses most of "
                "its speed (NCCL: troubleshooting).",
                "; ".join(f"sudo setpci -s {address} ECAP_ACS+6.w=0000" for address in list(on)[:4])
                + ("; and so on" if len(on) > 4 else "")
                + ", after each boot; or turn ACS off in the firmware.",
                "0000",
            )
        ]
    hidden = [acs for acs in states.values() if acs.reason == ROOT_ALONE]
    if not hidden:
        return []
    return [
        _ACS.finding(
            Severity.UNKNOWN,
            listed(states),
            [seen(hidden[0])],
            "Whether ACS sends traffic between GPUs and NICs to the root is not known, since only root may look.",
            "sudo lspci -vvv | grep ACSCtl; SrcValid+ means that it is on.",
        )
    ]


def _endpoints(view: HostView) -> Iterator[tuple[str, PciDevice, bool, bool]]:
    """Yields name, place, whether it is a NIC, and whether a GPU is busy; virtual functions have no link."""
    for gpu in view.host.gpus.devices:
        place = view.host.pci.devices.get(gpu.pci)
        if place is not None:
            yield f"GPU {gpu.nvml_index}", place, False, gpu.busy_percent.otherwise(0) > _BUSY_PERCENT
    for nic in view.nics:
        place = view.host.pci.devices.get(nic.pci.otherwise(""))
        if place is not None and not place.physical_function.known:
            yield nic.name, place, True, True


def _widths(upper: PciDevice | None) -> tuple[float | None, float | None]:
    return (None, None) if upper is None else (upper.link.width.value, upper.link.max_width.value)


def _speeds(upper: PciDevice | None) -> tuple[float | None, float | None]:
    return (None, None) if upper is None else (upper.link.speed_gts.value, upper.link.max_speed_gts.value)


def _lacking(
    now: float | None, most: float | None, above: float | None, most_above: float | None, *, last: bool
) -> float | None:
    """Returns what a link could do when it does less; `above` is the bridge at its upper end.

    The functions of a switch show the link below them at its lower side and the one above at its upper side, so a
    bridge counts only together with one whose link runs alike.
    """
    if now is None or most is None:
        return None
    if above is None or most_above is None:
        return most if last and now < most else None
    if not last and above != now:
        return None
    expected = min(most, most_above)
    return expected if now < expected else None


def _shared_ways(view: HostView) -> set[str]:
    """Returns the ports of a switch that GPUs and NICs below it meet by; elsewhere traffic goes to the root anyway."""
    places = view.host.pci.devices
    by_name = {nic.name: nic.pci.otherwise("") for nic in view.active_nics}
    bridges: set[str] = set()
    for path in view.topology.paths:
        gpu, nic = places.get(path.gpu), places.get(by_name.get(path.nic, ""))
        if path.level in (PathClass.PIX, PathClass.PXB) and gpu is not None and nic is not None:
            bridges |= {*gpu.bridges} ^ {*nic.bridges}
    return bridges


CHECKS: tuple[Check[HostView], ...] = (
    Check(_WIDTH, pcie_link_downgraded),
    Check(_AER, pcie_errors),
    Check(_IOMMU, iommu_translates),
    Check(_ACS, acs_redirects),
)
