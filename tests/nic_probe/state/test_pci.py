"""Errors, ACS and IOMMU of PCI functions, from files as the kernel writes them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pdpanel.nic_probe.sources.files import HostFiles
from pdpanel.nic_probe.sources.memory import MemoryTree
from pdpanel.nic_probe.state.pci import ROOT_ALONE, PciState, acs_control, probe_pci_state

_ADDRESS = "0000:17:08.0"
_FOLDER = f"sys/bus/pci/devices/{_ADDRESS}"


def _probe(files: dict[str, bytes]) -> PciState:
    tree = MemoryTree({f"{_FOLDER}/{name}": content for name, content in files.items()})
    return probe_pci_state(HostFiles(tree), [_ADDRESS])[_ADDRESS]


def _config(control: int | None, *, kind: int = 1, size: int = 4096) -> bytes:
    """A configuration space with error reporting and, after it, ACS."""
    space = bytearray(4096)
    space[0x0E] = kind
    space[0x100:0x104] = (0x0001 | 1 << 16 | 0x148 << 20).to_bytes(4, "little")
    if control is not None:
        space[0x148:0x14C] = (0x000D | 1 << 16).to_bytes(4, "little")
        space[0x14E:0x150] = control.to_bytes(2, "little")
    return bytes(space[:size])


def test_counts_are_totals() -> None:
    state = _probe(
        {
            "aer_dev_correctable": b"RxErr 0\nBadTLP 3\nTOTAL_ERR_COR 3\n",
            "aer_dev_nonfatal": b"DLP 0\nTOTAL_ERR_NONFATAL 0\n",
            "aer_dev_fatal": b"DLP 1\n",
            "iommu_group/type": b"DMA-FQ\n",
        }
    )
    assert (state.correctable.value, state.nonfatal.value) == (3, 0)
    assert "total" in state.fatal.reason
    assert state.iommu.value == "DMA-FQ"


def test_the_acs_control_of_a_bridge() -> None:
    assert _probe({"config": _config(0x1D)}).acs.value == 0x1D
    assert _probe({"config": _config(0x1D, kind=0x81)}).acs.value == 0x1D
    assert "ACS" in _probe({"config": _config(None)}).acs.reason


def test_only_bridges_are_read_further_and_only_root_may() -> None:
    assert _probe({"config": _config(0x1D, kind=0)}).acs.reason == "is no bridge"
    assert _probe({"config": _config(0x1D, size=64)}).acs.reason == ROOT_ALONE
    assert _probe({"config": _config(0x1D, size=256)}).acs.reason == ROOT_ALONE
    assert _probe({}).acs.reason == "does not exist"


def test_a_chain_of_capabilities_may_run_in_a_circle() -> None:
    space = bytearray(4096)
    space[0x100:0x104] = (0x0001 | 0x100 << 20).to_bytes(4, "little")
    assert acs_control(bytes(space)) is None


@given(st.binary(max_size=64), st.binary(min_size=0, max_size=3000))
def test_no_configuration_raises(head: bytes, rest: bytes) -> None:
    control = acs_control(head.ljust(0x100, b"\0") + rest)
    assert control is None or 0 <= control < 1 << 16
