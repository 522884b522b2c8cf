"""GPUs and their driver, from values that a test makes."""

from __future__ import annotations

from typing import Any

import pytest
from check_case import GPU_PCI, Case, found, make_state, make_view
from pdpanel.nic_probe.checks.view import HostView
from pdpanel.nic_probe.finding import Severity
from pdpanel.nic_probe.gpus.gpu import Gpu, GpuProcess
from simulated_host import make_gpu, read, unread

_GIB = 1 << 30


def _pair(**changes: Any) -> list[Gpu]:
    return [make_gpu(pci, index, **changes) for index, pci in enumerate(GPU_PCI)]


def _health(**health: Any) -> HostView:
    return make_view(_pair(health=health))


def _environ(**environ: str) -> HostView:
    return make_view(state=make_state(environ))


def _silent(reason: str) -> list[Gpu]:
    return _pair(nvml_index=unread(reason), uuid=unread(reason), processes=unread(reason))


def _mixed() -> list[Gpu]:
    return [make_gpu(GPU_PCI[0], 0, name=read("NVIDIA L4")), make_gpu(GPU_PCI[1], 1)]


CASES = (
    Case(
        "nvml-unreachable",
        Severity.WARNING,
        lambda: make_view(_silent("cannot be asked: NVML Shared Library Not Found")),
        make_view,
        "modprobe nvidia",
    ),
    Case(
        "gpu-memory-held",
        Severity.WARNING,
        lambda: make_view(
            _pair(
                memory_used_bytes=read(60 * _GIB),
                processes=read((GpuProcess(4711, read("sglang::schedul"), read(60 * _GIB)),)),
            )
        ),
        lambda: make_view(_pair(memory_used_bytes=read(600 << 20))),
        "kill 4711",
    ),
    Case("gpu-order", Severity.WARNING, lambda: make_view(_mixed()), make_view, "CUDA_DEVICE_ORDER=PCI_BUS_ID"),
    Case(
        "gpu-visibility",
        Severity.WARNING,
        lambda: _environ(CUDA_VISIBLE_DEVICES="0,5,1"),
        lambda: _environ(CUDA_VISIBLE_DEVICES="1,0"),
        "CUDA_VISIBLE_DEVICES=0,1",
    ),
    Case("gpu-compute-mode", Severity.ERROR, lambda: _health(compute_mode=read("Prohibited")), make_view, "-c DEFAULT"),
    Case("gpu-mig", Severity.WARNING, lambda: _health(mig=read(True)), make_view, "-mig 0"),
    Case(
        "fabric-manager",
        Severity.ERROR,
        lambda: _health(fabric=read("not started")),
        lambda: _health(fabric=read("completed")),
        "nvidia-fabricmanager",
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_check_finds_it_and_keeps_silent_otherwise(case: Case) -> None:
    case.verify()


def test_a_driver_that_was_updated_without_a_reboot_is_an_error() -> None:
    (finding,) = found("nvml-unreachable", make_view(_silent("Driver/library version mismatch")))
    assert finding.severity is Severity.ERROR
    assert "Reboot" in finding.remedy


def test_a_container_that_was_given_no_gpu() -> None:
    state = make_state(container={"kind": read("docker")})
    (finding,) = found("nvml-unreachable", make_view(_silent("Library Not Found"), state=state))
    assert "--gpus all" in finding.remedy


def test_a_capture_asks_no_driver() -> None:
    assert found("nvml-unreachable", make_view(_silent("is in a capture"), live=False)) == []


def test_memory_of_processes_that_cannot_be_seen_is_shown_all_the_same() -> None:
    (finding, _) = found("gpu-memory-held", make_view(_pair(memory_used_bytes=read(20 * _GIB), processes=unread())))
    assert "cannot be seen" in finding.reason
    assert "20 GiB of 80 GiB" in finding.evidence[0].value


@pytest.mark.parametrize("name", ["hidden", "held"])
def test_a_process_may_hide_its_name_or_its_part(name: str) -> None:
    hidden = GpuProcess(7, unread() if name == "hidden" else read("python"), unread() if name == "held" else read(_GIB))
    view = make_view(_pair(memory_used_bytes=read(20 * _GIB), processes=read((hidden,))))
    (finding, _) = found("gpu-memory-held", view)
    text = "of another container" if name == "hidden" else "an unknown part"
    assert text in finding.evidence[1].value


def test_numbers_that_differ_are_a_trap_among_equal_gpus_too() -> None:
    crossed = [make_gpu(pci, index, cuda_index=read(1 - index)) for index, pci in enumerate(GPU_PCI)]
    (finding,) = found("gpu-order", make_view(crossed))
    assert "NVML 0, CUDA 1" in finding.evidence[0].value


def test_the_order_by_bus_is_no_trap() -> None:
    assert found("gpu-order", make_view(_mixed(), state=make_state({"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}))) == []
    assert found("gpu-order", make_view(_mixed()[:1])) == []


@pytest.mark.parametrize(
    ("value", "severity"),
    [
        ("0", Severity.INFO),
        ("", Severity.INFO),
        ("-1", Severity.INFO),
        ("GPU-00000000", Severity.INFO),
        ("0,0", Severity.WARNING),
        ("0,GPU-ffff", Severity.WARNING),
        ("GPU-ffff", Severity.ERROR),
        ("9", Severity.ERROR),
        ("zero", Severity.ERROR),
    ],
)
def test_what_a_list_of_visible_gpus_leaves(value: str, severity: Severity) -> None:
    (finding,) = found("gpu-visibility", _environ(CUDA_VISIBLE_DEVICES=value))
    assert finding.severity is severity


def test_gpus_without_names_are_not_matched() -> None:
    view = make_view(_silent("x"), state=make_state({"CUDA_VISIBLE_DEVICES": "9"}))
    assert found("gpu-visibility", view) == []


def test_one_process_alone_is_a_warning() -> None:
    (finding, _) = found("gpu-compute-mode", _health(compute_mode=read("ExclusiveProcess")))
    assert finding.severity is Severity.WARNING


def test_a_fabric_that_comes_up_or_failed() -> None:
    (finding,) = found("fabric-manager", _health(fabric=read("in progress")))
    assert finding.severity is Severity.WARNING
    assert found("fabric-manager", _health(fabric=read("completed with error 3")))
    assert found("fabric-manager", _health(fabric=unread("not supported"))) == []
