"""The way from a GPU's memory to a NIC, from values that a test makes."""

from __future__ import annotations

from typing import Any

import pytest
from check_case import GPU_PCI, Case, found, make_state, make_view, roce_nic
from pdpanel.nic_probe.checks.view import HostView
from pdpanel.nic_probe.finding import Severity
from pdpanel.nic_probe.gpus.gpu import Vendor
from simulated_host import make_gpu, read, unread

_BARE = read({"nvidia": "570.86.15", "mlx5_core": ""})
_OLD = read("5.10.0-33-amd64")


def _view(environ: dict[str, str] | None = None, *, modules: Any = _BARE, is_open: Any = True, **host: Any) -> HostView:
    is_open = unread() if is_open is None else read(is_open)
    return make_view(state=make_state(environ, kernel={"modules": modules, "nvidia_open": is_open}), **host)


def _amd(**options: str) -> HostView:
    gpus = [make_gpu(pci, index, vendor=Vendor.AMD) for index, pci in enumerate(GPU_PCI)]
    return make_view(gpus, state=make_state(kernel={"options": read(options)}))


def _bar1(window: int) -> HostView:
    return make_view([make_gpu(GPU_PCI[0], health={"bar1_total_bytes": read(window)})])


_NO_DMA_BUF: dict[str, Any] = {
    "is_open": False,
    "gpus": [make_gpu(pci, index, health={"dma_buf": read(False)}) for index, pci in enumerate(GPU_PCI)],
}

CASES = (
    Case("gpudirect-missing", Severity.ERROR, lambda: _view(**_NO_DMA_BUF), make_view, "modprobe nvidia_peermem"),
    Case("peermem-setting", Severity.WARNING, _view, make_view, "export WITH_NVIDIA_PEERMEM=0"),
    Case(
        "amd-peer-memory",
        Severity.WARNING,
        lambda: _amd(CONFIG_PCI_P2PDMA="n", CONFIG_DMABUF_MOVE_NOTIFY="y"),
        lambda: _amd(CONFIG_PCI_P2PDMA="y", CONFIG_DMABUF_MOVE_NOTIFY="y"),
        "CONFIG_PCI_P2PDMA=y",
    ),
    Case("bar1-small", Severity.WARNING, lambda: _bar1(256 << 20), lambda: _bar1(128 << 30), "Resizable BAR"),
    Case("gdrdrv-missing", Severity.INFO, _view, make_view, "modprobe gdrdrv"),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_check_finds_it_and_keeps_silent_otherwise(case: Case) -> None:
    case.verify()


def test_an_old_kernel_has_no_dma_buf_whatever_the_driver_says() -> None:
    (finding,) = found("gpudirect-missing", _view(kernel=_OLD))
    assert finding.severity is Severity.ERROR
    assert "Linux 5.10.0-33-amd64" in [evidence.value for evidence in finding.evidence]


def test_a_driver_that_nobody_asked_is_no_error() -> None:
    gpus = [make_gpu(GPU_PCI[0], health={"dma_buf": unread()})]
    (finding,) = found("gpudirect-missing", _view(gpus=gpus, is_open=None))
    assert finding.severity is Severity.WARNING
    assert "is not known" in finding.reason


@pytest.mark.parametrize("modules", [unread(), read({"ext4": ""})])
def test_a_list_of_modules_without_the_gpus_own_driver_proves_nothing(modules: Any) -> None:
    view = _view(modules=modules, **_NO_DMA_BUF)
    assert [finding for case in CASES if case.id != "bar1-small" for finding in found(case.id, view)] == []


@pytest.mark.parametrize("nics", [(), (roce_nic(0, driver=read("efa")), roce_nic(1, driver=read("efa")))])
def test_without_a_nic_that_needs_it_nothing_is_missing(nics: tuple[Any, ...]) -> None:
    view = _view(nics=nics, **_NO_DMA_BUF)
    assert found("gpudirect-missing", view) == []
    assert found("peermem-setting", view) == []


def test_the_old_name_of_the_module_counts() -> None:
    assert found("gpudirect-missing", _view(modules=read({"nvidia": "", "nv_peer_mem": "1.3"}), **_NO_DMA_BUF)) == []


@pytest.mark.parametrize("value", ["1", "true", "on"])
def test_a_setting_that_asks_for_a_module_that_is_not_there(value: str) -> None:
    (finding,) = found("peermem-setting", _view({"WITH_NVIDIA_PEERMEM": value}))
    assert (finding.severity, finding.corrected) == (Severity.ERROR, "0")


@pytest.mark.parametrize("value", ["0", "false", "OFF"])
def test_a_setting_that_asks_for_dma_buf(value: str) -> None:
    assert found("peermem-setting", _view({"WITH_NVIDIA_PEERMEM": value})) == []
    loaded = read({"nvidia": "", "nvidia_peermem": ""})
    (finding,) = found("peermem-setting", _view({"WITH_NVIDIA_PEERMEM": value}, modules=loaded, **_NO_DMA_BUF))
    assert (finding.severity, finding.remedy) == (Severity.ERROR, "export WITH_NVIDIA_PEERMEM=1")
    assert "kvcache-ai/Mooncake#3538" in finding.reason
