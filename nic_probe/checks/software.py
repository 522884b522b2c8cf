"""Checks of what is installed: builds of Mooncake, its libraries, CUDA of torch, Mooncake and the driver."""

from __future__ import annotations

import re

from ..finding import Evidence, Finding, Severity
from ..gpus.gpu import Vendor
from .check import Check, Rule
from .evidence import listed, seen
from .view import HostView

__all__ = ["CHECKS"]

_MOONCAKE = "mooncake-transfer-engine"
_DOCUMENTATION = "Mooncake documentation: quick start"
# The CUDA major that a build is for, by the end of its name; others are for no NVIDIA GPU.
_CUDA_OF = {"": 12, "-cuda13": 13}
_VENDOR_OF = {"-npu": Vendor.HUAWEI, "-rocm": Vendor.AMD}

_LIBRARIES = Rule(
    "mooncake-libraries-missing",
    "Shared libraries that the installed Mooncake needs",
    "Mooncake's engine is linked against the CUDA runtime, the driver and system libraries. When one is missing, its "
    "import fails with `cannot open shared object file`, and an engine does not start or takes another transport.",
    ("kvcache-ai/Mooncake#1298", "kvcache-ai/Mooncake#967", "kvcache-ai/Mooncake#3314", "vllm-project/vllm#42511"),
)
_BUILD = Rule(
    "mooncake-build",
    "The build of Mooncake, against the GPUs and CUDA of this host",
    "There is a build of Mooncake for CUDA 12, one for CUDA 13, and others for AMD, Ascend and hosts without a GPU. "
    "The wrong one does not import (libcudart.so.12), or cannot register the memory of the GPUs.",
    ("kvcache-ai/Mooncake#1298", "kvcache-ai/Mooncake#967", "vllm-project/vllm#42511"),
)
_SEVERAL = Rule(
    "mooncake-builds-several",
    "Builds of Mooncake that are installed at once",
    "All builds install the same Python package `mooncake`, and the one that came last overwrites the files of the "
    "others. Which engine is loaded then hangs on the order, and removing one breaks the rest.",
    ("PyPI: mooncake-transfer-engine and its variants",),
)
_ABSENT = Rule(
    "mooncake-absent",
    "Whether Mooncake is installed beside an engine",
    "SGLang moves KV by Mooncake unless it is told otherwise. When it cannot import Mooncake it ends at its start.",
    (_DOCUMENTATION,),
)
_CUDA = Rule(
    "cuda-driver-old",
    "CUDA of torch against what the driver speaks",
    "A driver runs programs built for its own CUDA major version and older ones. Built for a newer major, torch finds "
    "no GPU: The NVIDIA driver on your system is too old.",
    ("NVIDIA: CUDA compatibility",),
)


def mooncake_libraries_missing(view: HostView) -> list[Finding]:
    """Finds libraries without which the installed Mooncake does not import."""
    software = view.state.software
    missing = software.lacks("mooncake")
    if not missing:
        return []
    builds = _builds(view)
    cudart = next((name for name in missing if name.startswith("libcudart.so.")), "")
    if cudart or "libcuda.so.1" in missing:
        right = _right_build(view)
        remedy = f"pip uninstall -y {' '.join(builds) or _MOONCAKE}; pip install {right}"
        if right in builds:
            major = cudart.rpartition(".")[2] or "12"
            remedy = f"pip install nvidia-cuda-runtime-cu{major}, and put its lib folder into LD_LIBRARY_PATH"
    elif any(name.startswith(("libibverbs", "libmlx5", "librdmacm")) for name in missing):
        right = None
        remedy = "apt-get install libibverbs1 ibverbs-providers librdmacm1, or dnf install rdma-core"
    else:
        right = None
        remedy = f"Install the packages with {listed(missing)}, or pip uninstall {_MOONCAKE} and build it from source."
    return [
        _LIBRARIES.finding(
            Severity.ERROR if view.serves else Severity.WARNING,
            "mooncake",
            [
                *(Evidence(software.missing_libraries.source, f"{name} does not load") for name in missing),
                *(Evidence(software.packages.source, f"{name} {version}") for name, version in builds.items()),
            ],
            f"Mooncake does not import without {listed(missing)}, so an engine that needs it does not start "
            "(kvcache-ai/Mooncake#1298, vllm-project/vllm#42511).",
            remedy,
            right,
        )
    ]


def mooncake_build(view: HostView) -> list[Finding]:
    """Compares the installed build with the GPUs and with CUDA; what does not load is another check's."""
    builds = _builds(view)
    if len(builds) != 1 or view.state.software.lacks("mooncake"):
        return []
    ((name, version),) = builds.items()
    # The builds for EFA differ in nothing else from those without it.
    suffix = name.removeprefix(_MOONCAKE).replace("-efa", "")
    right = _right_build(view)
    if right == _MOONCAKE + suffix:
        return []
    packages = view.state.software.packages
    evidence = [seen(packages, f"{name} {version}")]
    vendors = {gpu.vendor for gpu in view.host.gpus.devices}
    if suffix == "-non-cuda" and vendors:
        if not view.active_nics and Vendor.NVIDIA not in vendors:
            return []
        reason = "This build knows no GPU, so KV has to be copied through the host's memory."
    elif _VENDOR_OF.get(suffix) not in (None, *vendors):
        reason = f"This build is for GPUs of {_VENDOR_OF[suffix]}, of which this host has none."
    elif suffix in _CUDA_OF and Vendor.NVIDIA in vendors:
        major = _cuda_major(view)
        if major is None or major == _CUDA_OF[suffix]:
            return []
        runtime = f"libcudart.so.{_CUDA_OF[suffix]}"
        if view.state.software.loads(runtime) or view.state.software.lacks("mooncake") is not None:
            return []  # Both runtimes are here, and each program finds its own.
        evidence.append(_cuda_evidence(view))
        reason = f"This build needs {runtime}, and the rest of the host is on CUDA {major} (kvcache-ai/Mooncake#1298)."
    else:
        return []
    return [
        _BUILD.finding(
            Severity.WARNING,
            name,
            evidence,
            reason,
            f"pip uninstall -y {name}; pip install {right}",
            right,
        )
    ]


def mooncake_builds_several(view: HostView) -> list[Finding]:
    """Finds builds that overwrote each other."""
    builds = _builds(view)
    if len(builds) < 2:
        return []
    right = _right_build(view)
    return [
        _SEVERAL.finding(
            Severity.WARNING,
            "mooncake",
            [seen(view.state.software.packages, f"{name} {version}") for name, version in builds.items()],
            "These builds share the import name mooncake, and the one installed last overwrote the others' files.",
            f"pip uninstall -y {' '.join(builds)}; pip install {right}",
            right,
        )
    ]


def mooncake_absent(view: HostView) -> list[Finding]:
    """Reports an SGLang without Mooncake."""
    packages = view.state.software.packages
    if _builds(view) or "sglang" not in packages.otherwise({}):
        return []
    right = _right_build(view)
    return [
        _ABSENT.finding(
            Severity.WARNING,
            "mooncake",
            [seen(packages, f"sglang {packages.otherwise({})['sglang']}, and no {_MOONCAKE}")],
            "SGLang moves KV by Mooncake unless it is told otherwise, and Mooncake is not installed.",
            f"pip install {right}, or --disaggregation-transfer-backend nixl with NIXL",
            right,
        )
    ]


def cuda_driver_old(view: HostView) -> list[Finding]:
    """Compares the CUDA that torch was built for with what the driver speaks."""
    torch, driver = _torch_cuda(view), _major(view.host.gpus.runtime_version.otherwise(""))
    if torch is None or driver is None or torch <= driver or not view.nvidia_gpus:
        return []
    version = view.state.software.packages.otherwise({})["torch"]
    return [
        _CUDA.finding(
            Severity.ERROR,
            "torch",
            [
                seen(view.state.software.packages, f"torch {version}"),
                _driver_evidence(view),
            ],
            f"torch is built for CUDA {torch}, and the driver speaks no newer one than {driver}, so it finds no GPU.",
            f"Install a newer driver, or torch for CUDA {driver}: pip install torch --index-url "
            f"https://download.pytorch.org/whl/cu{str(view.host.gpus.runtime_version).replace('.', '')}",
        )
    ]


def _builds(view: HostView) -> dict[str, str]:
    packages = view.state.software.packages.otherwise({})
    return {name: version for name, version in packages.items() if name.startswith(_MOONCAKE)}


def _right_build(view: HostView) -> str:
    vendors = {gpu.vendor for gpu in view.host.gpus.devices}
    if Vendor.NVIDIA in vendors:
        return f"{_MOONCAKE}-cuda13" if _cuda_major(view) == 13 else _MOONCAKE
    for suffix, vendor in _VENDOR_OF.items():
        if vendor in vendors:
            return _MOONCAKE + suffix
    return f"{_MOONCAKE}-non-cuda"


def _cuda_major(view: HostView) -> int | None:
    """The CUDA of torch decides, since it brings the runtime; without torch that of the driver."""
    return _torch_cuda(view) or _major(view.host.gpus.runtime_version.otherwise(""))


def _torch_cuda(view: HostView) -> int | None:
    version = view.state.software.packages.otherwise({}).get("torch", "")
    match = re.search(r"\+cu(\d{2})\d", version, re.ASCII)
    return int(match[1]) if match else None


def _major(version: str) -> int | None:
    major = version.partition(".")[0]
    return int(major) if major.isascii() and major.isdecimal() and len(major) < 4 else None


def _cuda_evidence(view: HostView) -> Evidence:
    torch = view.state.software.packages.otherwise({}).get("torch", "")
    if _torch_cuda(view) is not None:
        return seen(view.state.software.packages, f"torch {torch}")
    return _driver_evidence(view)


def _driver_evidence(view: HostView) -> Evidence:
    version = view.host.gpus.runtime_version
    return seen(version, f"the driver speaks CUDA {version}")


CHECKS: tuple[Check[HostView], ...] = (
    Check(_LIBRARIES, mooncake_libraries_missing),
    Check(_BUILD, mooncake_build),
    Check(_SEVERAL, mooncake_builds_several),
    Check(_ABSENT, mooncake_absent),
    Check(_CUDA, cuda_driver_old),
)
