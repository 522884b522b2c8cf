"""What is installed, from values that a test makes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from check_case import GPU_PCI, Case, found, make_state, make_view
from pdpanel.nic_probe.checks.view import HostView
from pdpanel.nic_probe.finding import Severity
from pdpanel.nic_probe.gpus.gpu import Gpu, Gpus, Vendor
from simulated_host import make_gpu, read, unread

_CUDA12, _CUDA13 = "mooncake-transfer-engine", "mooncake-transfer-engine-cuda13"
_NON_CUDA = "mooncake-transfer-engine-non-cuda"


def _view(*builds: str, torch: str = "2.9.1+cu128", gpus: Any = None, **software: Any) -> HostView:
    packages = {"torch": torch, **dict.fromkeys(builds, "0.3.13")}
    values = {"packages": read(packages), "missing_libraries": unread(), **software}
    return make_view(gpus, state=make_state(software=values))


def _missing(*libraries: str, builds: tuple[str, ...] = (_CUDA12,), **changes: Any) -> HostView:
    return _view(*builds, missing_libraries=read({"mooncake": libraries}), **changes)


def _amd() -> list[Gpu]:
    return [make_gpu(GPU_PCI[0], vendor=Vendor.AMD)]


CASES = (
    Case(
        "mooncake-libraries-missing",
        Severity.ERROR,
        lambda: _missing("libcudart.so.12", torch="2.11.0+cu130"),
        lambda: _missing("libcudart.so.12", wheel_libraries=read(("libcudart.so.12",))),
        f"pip install {_CUDA13}",
    ),
    Case(
        "mooncake-build",
        Severity.WARNING,
        lambda: _view(_CUDA13),
        lambda: _view(_CUDA12),
        f"pip install {_CUDA12}",
    ),
    Case("mooncake-builds-several", Severity.WARNING, lambda: _view(_CUDA12, _NON_CUDA), lambda: _view(_CUDA12)),
    Case(
        "mooncake-absent",
        Severity.WARNING,
        lambda: make_view(state=make_state(software={"packages": read({"sglang": "0.5.9"})})),
        lambda: make_view(state=make_state(software={"packages": read({"vllm": "0.33.0"})})),
        f"pip install {_CUDA12}",
    ),
    Case(
        "cuda-driver-old",
        Severity.ERROR,
        lambda: _view(_CUDA12, torch="2.11.0+cu130"),
        lambda: _view(_CUDA12, torch="2.9.1+cu129"),
        "whl/cu128",
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_check_finds_it_and_keeps_silent_otherwise(case: Case) -> None:
    case.verify()


def test_the_right_build_needs_its_runtime() -> None:
    (finding,) = found("mooncake-libraries-missing", _missing("libcudart.so.12"))
    assert "nvidia-cuda-runtime-cu12" in finding.remedy


def test_a_host_without_gpus_needs_the_build_without_cuda() -> None:
    lacking = {"packages": read({_CUDA12: "0.3.13"}), "missing_libraries": read({"mooncake": ("libcuda.so.1",)})}
    state = make_state(software=lacking)
    (finding,) = found("mooncake-libraries-missing", make_view(gpus=(), nics=(), state=state))
    assert (finding.severity, finding.corrected) == (Severity.WARNING, _NON_CUDA)


def test_libraries_of_the_system_come_from_the_system() -> None:
    (finding,) = found("mooncake-libraries-missing", _missing("libibverbs.so.1"))
    assert "apt-get install libibverbs1" in finding.remedy
    (finding,) = found("mooncake-libraries-missing", _missing("libglog.so.1"))
    assert "libglog.so.1" in finding.remedy


def test_a_build_that_finds_all_its_libraries_is_left_alone() -> None:
    assert found("mooncake-build", _missing(builds=(_CUDA13,))) == []
    assert found("mooncake-build", _view(_CUDA13, libraries=read({"libcudart.so.13": ""}))) == []


@pytest.mark.parametrize(
    ("build", "gpus", "says"),
    [
        (_NON_CUDA, None, "knows no GPU"),
        ("mooncake-transfer-engine-efa-non-cuda", None, "knows no GPU"),
        ("mooncake-transfer-engine-npu", None, "for GPUs of Huawei"),
        ("mooncake-transfer-engine-npu", _amd(), "for GPUs of Huawei"),
        ("mooncake-transfer-engine-rocm", _amd(), ""),
        ("mooncake-transfer-engine-efa", None, ""),
        (_NON_CUDA, (), ""),
    ],
)
def test_which_gpus_a_build_is_for(build: str, gpus: Any, says: str) -> None:
    findings = found("mooncake-build", _view(build, gpus=gpus))
    assert bool(findings) is bool(says)
    assert says in "".join(finding.reason for finding in findings)


def test_without_torch_the_driver_decides() -> None:
    state = make_state(software={"packages": read({_CUDA12: "0.3.13"}), "missing_libraries": unread()})
    view = make_view(state=state)
    newer = replace(view.host, gpus=Gpus(view.host.gpus.devices, read("580.65"), read("13.0")))
    (finding,) = found("mooncake-build", HostView(newer, view.topology))
    assert finding.corrected == _CUDA13


@pytest.mark.parametrize("torch", ["2.9.1", "2.9.1+cpu", "2.9.1+rocm6.4"])
def test_a_torch_that_names_no_cuda_is_not_compared(torch: str) -> None:
    assert found("cuda-driver-old", _view(torch=torch)) == []


def test_packages_that_are_not_known_are_not_judged() -> None:
    view = make_view(state=make_state(software={"packages": unread(), "missing_libraries": unread()}))
    assert [finding for case in CASES for finding in found(case.id, view)] == []
