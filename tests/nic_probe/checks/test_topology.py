"""Where GPUs and NICs sit, from values that a test makes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from check_case import GPU_PCI, NIC_PCI, Case, found, make_state, make_view, roce_nic
from pdpanel.nic_probe.checks.view import HostView
from pdpanel.nic_probe.finding import Severity
from pdpanel.nic_probe.nics.device import RdmaDevice
from simulated_host import make_gpu, make_pci, read, unread


def _slow(number: int) -> RdmaDevice:
    """A NIC of a tenth of the others' speed, as storage has."""
    return roce_nic(number, port={"rate": read("40 Gb/sec (4X QDR)"), "rate_gbps": read(40.0)})


def _beside(nic: RdmaDevice) -> HostView:
    """The first switch with a second NIC, `nic`, on a port of its own."""
    port = make_pci("0000:17:0a.0", "pci0000:16", "0000:16:01.0", "0000:17:00.0")
    place = make_pci("0000:1a:00.0", *port.chain)
    return make_view(nics=(roce_nic(0), _at(nic, place.address), roce_nic(1)), pci=(port, place))


def _at(nic: RdmaDevice, address: str) -> RdmaDevice:
    return replace(nic, name="mlx5_9", pci=read(address), numa_node=read(0))


def _flat() -> HostView:
    places = [
        make_pci(address, f"pci{index:04x}:00", numa_node=None) for index, address in enumerate((*GPU_PCI, *NIC_PCI))
    ]
    gpus = [make_gpu(pci, index, numa_node=unread()) for index, pci in enumerate(GPU_PCI)]
    return make_view(gpus, [roce_nic(number, numa_node=unread()) for number in range(2)], pci=places)


def _far_nic() -> HostView:
    """One GPU, and a second NIC at the other socket."""
    return make_view([make_gpu(GPU_PCI[0], 0)])


def _file(text: str | None, *, live: bool = True) -> HostView:
    content = unread("does not exist") if text is None else read(text)
    return make_view(live=live, state=make_state({"MC_CUSTOM_TOPO_JSON": "/t.json"}, custom_topology=content))


CASES = (
    Case(
        "gpu-far-from-nics",
        Severity.WARNING,
        lambda: make_view(nics=(roce_nic(0),)),
        make_view,
        GPU_PCI[0],
    ),
    Case("nic-idle", Severity.INFO, _far_nic, make_view, "MC_CUSTOM_TOPO_JSON"),
    Case(
        "nic-unfit-preferred",
        Severity.WARNING,
        lambda: _beside(_slow(0)),
        lambda: _beside(roce_nic(0)),
        json.dumps({"0": "mlx5_0", "1": "mlx5_1"}),
    ),
    Case("affinity-unknown", Severity.INFO, _flat, make_view, "virtualTopology.xml"),
    Case(
        "custom-topology",
        Severity.ERROR,
        lambda: _file('{"cuda:0": [["mlx5_0"]]}'),
        lambda: _file('{"cuda:0": [["mlx5_0"], ["mlx5_1"]]}'),
        "unset MC_CUSTOM_TOPO_JSON",
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_check_finds_it_and_keeps_silent_otherwise(case: Case) -> None:
    case.verify()


def test_a_file_of_ones_own_ends_the_advice_on_mooncakes_choice() -> None:
    state = make_state({"MC_CUSTOM_TOPO_JSON": "/t.json"})
    assert found("nic-idle", make_view([make_gpu(GPU_PCI[0])], state=state)) == []


def test_as_many_gpus_as_nics_and_one_nic_left_over() -> None:
    """Both GPUs sit on the first node, as when a slot was chosen for the cable's sake."""
    port = make_pci("0000:17:0b.0", "pci0000:16", "0000:16:01.0", "0000:17:00.0")
    second = make_pci("0000:1b:00.0", *port.chain)
    view = make_view([make_gpu(GPU_PCI[0], 0), make_gpu(second.address, 1)], pci=(port, second))
    (finding,) = found("nic-idle", view)
    assert (finding.severity, finding.subject) == (Severity.WARNING, "mlx5_1")


def test_a_slow_nic_is_never_blamed_for_being_idle() -> None:
    view = make_view([make_gpu(GPU_PCI[0])], (roce_nic(0), _slow(1)))
    assert found("nic-idle", view) == []


def test_unknown_is_not_far() -> None:
    assert found("gpu-far-from-nics", _flat()) == []


@pytest.mark.parametrize(
    ("text", "severity"),
    [
        (None, Severity.WARNING),
        ("[", Severity.ERROR),
        ("[]", Severity.ERROR),
        ("[" * 100_000, Severity.ERROR),
        ('{"cuda:0": [["mlx5_0"], [1]]}', Severity.ERROR),
        ('{"cuda:0": [["rocep1"], []]}', Severity.ERROR),
        ('{"cuda:0": [["mlx5_0"], ["rocep1"]]}', Severity.WARNING),
    ],
)
def test_what_is_wrong_with_a_file(text: str | None, severity: Severity) -> None:
    (finding,) = found("custom-topology", _file(text))
    assert finding.severity is severity


def test_the_file_of_a_captured_host_is_not_here() -> None:
    assert found("custom-topology", _file(None, live=False)) == []
