"""The PCI Express way to GPUs and NICs, from values that a test makes."""

from __future__ import annotations

from typing import Any

import pytest
from check_case import GPU_PCI, NIC_PCI, Case, found, make_state, make_view, pci_state, roce_nic
from pdpanel.nic_probe.checks.view import HostView
from pdpanel.nic_probe.finding import Severity
from pdpanel.nic_probe.state.pci import ROOT_ALONE
from pdpanel.nic_probe.topology.pci import PciDevice, PcieLink
from simulated_host import make_gpu, make_pci, read, unread

_ABOVE = ("pci0000:16", "0000:16:01.0", "0000:17:00.0")
_PORT_OF_GPU, _PORT_OF_NIC = "0000:17:08.0", "0000:17:09.0"


def _link(speed: float, width: int, max_speed: float = 32.0, max_width: int = 16) -> PcieLink:
    return PcieLink(read(speed), read(width), read(max_speed), read(max_width))


def _gpu(link: PcieLink) -> PciDevice:
    return make_pci(GPU_PCI[0], *_ABOVE, _PORT_OF_GPU, link=link)


def _nic(link: PcieLink) -> PciDevice:
    return make_pci(NIC_PCI[0], *_ABOVE, _PORT_OF_NIC, link=link)


def _state(address: str, machine: dict[str, Any] | None = None, **changes: Any) -> HostView:
    state = make_state(machine=machine or {})
    return make_view(state=make_state(machine=machine or {}, pci={**state.pci, address: pci_state(**changes)}))


def _translated(**kernel: Any) -> HostView:
    pci = {address: pci_state(iommu=read("DMA-FQ")) for address in GPU_PCI}
    return make_view(
        state=make_state(kernel={"iommu_groups": read(80), "command_line": read("quiet"), **kernel}, pci=pci)
    )


CASES = (
    Case(
        "pcie-link-downgraded",
        Severity.WARNING,
        lambda: make_view(pci=[_gpu(_link(32.0, 8))]),
        lambda: make_view(pci=[_gpu(_link(2.5, 16))]),
        "x16",
    ),
    Case("pcie-errors", Severity.WARNING, lambda: _state(NIC_PCI[0], fatal=read(1)), make_view, "reseat the card"),
    Case("iommu-translates", Severity.WARNING, _translated, make_view, "iommu=pt"),
    Case(
        "acs-redirects",
        Severity.WARNING,
        lambda: _state(_PORT_OF_NIC, acs=read(0x1D)),
        lambda: _state(_PORT_OF_NIC, acs=read(0)),
        f"setpci -s {_PORT_OF_NIC}",
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_check_finds_it_and_keeps_silent_otherwise(case: Case) -> None:
    case.verify()


def test_an_idle_gpu_saves_power_and_a_busy_one_does_not() -> None:
    slow = [_gpu(_link(2.5, 16))]
    busy = [make_gpu(GPU_PCI[0], busy_percent=read(90))]
    (finding,) = found("pcie-link-downgraded", make_view(busy, pci=slow))
    assert finding.evidence[0].value == "2.5 of 32 GT/s"


def test_a_nic_keeps_its_speed() -> None:
    (finding,) = found("pcie-link-downgraded", make_view(pci=[_nic(_link(16.0, 16))]))
    assert finding.subject == f"mlx5_0 ({NIC_PCI[0]})"


def test_a_card_of_few_lanes_in_a_wide_slot_is_whole() -> None:
    port = make_pci(_PORT_OF_NIC, *_ABOVE, link=_link(32.0, 8))
    assert found("pcie-link-downgraded", make_view(pci=[_nic(_link(32.0, 8, max_width=8)), port])) == []


def test_a_link_between_bridges_is_judged_too() -> None:
    root = make_pci("0000:16:01.0", "pci0000:16", link=_link(32.0, 8))
    uplink = make_pci("0000:17:00.0", "pci0000:16", "0000:16:01.0", link=_link(32.0, 8))
    (finding,) = found("pcie-link-downgraded", make_view(pci=[root, uplink]))
    assert finding.subject.startswith("bridge 0000:17:00.0, above")


def test_a_guest_sees_no_bridge_and_perhaps_no_truth() -> None:
    alone = make_pci(GPU_PCI[0], "pci0000:16", link=_link(32.0, 8))
    state = make_state(machine={"hypervisor": read("QEMU")})
    (finding,) = found("pcie-link-downgraded", make_view(pci=[alone], state=state))
    assert finding.severity is Severity.INFO


def test_a_virtual_function_has_no_link_of_its_own() -> None:
    virtual = make_pci(NIC_PCI[0], *_ABOVE, _PORT_OF_NIC, link=_link(2.5, 1), physical_function=read("0000:19:00.1"))
    assert found("pcie-link-downgraded", make_view(pci=[virtual])) == []


def test_corrected_errors_are_worth_a_word() -> None:
    (finding,) = found("pcie-errors", _state(NIC_PCI[0], correctable=read(7)))
    assert (finding.severity, finding.evidence[0].value) == (Severity.INFO, "7 correctable")


def test_an_iommu_that_passes_through_is_all_right() -> None:
    assert found("iommu-translates", make_view(state=make_state(kernel={"iommu_groups": read(80)}))) == []
    assert found("iommu-translates", make_view(nics=(), state=_translated().state)) == []


def test_an_iommu_of_which_nobody_tells() -> None:
    state = make_state(kernel={"iommu_groups": read(80), "command_line": read("quiet")}, pci={})
    (finding,) = found("iommu-translates", make_view(state=state))
    assert finding.severity is Severity.INFO


def test_acs_matters_on_bare_metal_alone_and_below_a_switch() -> None:
    virtual = {"hypervisor": read("QEMU")}
    assert found("acs-redirects", _state(_PORT_OF_NIC, virtual, acs=read(0x1D))) == []
    assert found("acs-redirects", _state("0000:16:01.0", acs=read(0x1D))) == []
    assert found("acs-redirects", make_view(nics=(), state=_state(_PORT_OF_NIC, acs=read(0x1D)).state)) == []


def test_acs_that_only_root_may_read_is_not_checkable() -> None:
    (finding,) = found("acs-redirects", _state(_PORT_OF_NIC, acs=unread(ROOT_ALONE)))
    assert finding.severity is Severity.UNKNOWN
    assert "lspci -vvv" in finding.remedy


def test_nics_without_a_place_are_passed_over() -> None:
    view = make_view(nics=(roce_nic(0, pci=unread("is virtual")),))
    assert [finding for case in CASES for finding in found(case.id, view)] == []
