"""Which maker's accelerators a deployment runs on, as far as its file says so. Pure.

Images, devices of containers and resources of pods depend on it. A deployment has no field for it: what can run on one
maker's hardware alone, such as a kernel library or a transport, tells.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

from ..deployment import Deployment
from ..dialects.registry import dialect_of

__all__ = ["Accelerator", "accelerator_of"]

_AMD_GPUS = ("mi", "amd", "instinct")
_AMD_VARIABLES = ("HIP_", "HSA_", "ROCM_", "ROCR_", "AITER_", "SGLANG_USE_AITER", "SGLANG_AITER_", "VLLM_ROCM_")


class Accelerator(Enum):
    """A maker, by the name of its driver; NONE is the CPU."""

    NONE = "none"
    NVIDIA = "nvidia"
    AMD = "amd"
    ASCEND = "ascend"


def accelerator_of(deployment: Deployment) -> Accelerator:
    """Returns the maker; NVIDIA where nothing says another one."""
    dialect = dialect_of(deployment).name
    words = set(_words(deployment))
    if deployment.engine == "bundled":
        return Accelerator.NONE
    if deployment.transport == "ascend" or dialect == "vllm-ascend" or words & {"ascend", "npu"}:
        return Accelerator.ASCEND
    gpus = (spec.gpu.lower() for spec in deployment.hosts.values() if spec.gpu)
    amd = (
        dialect == "rocm-mad"
        or deployment.transport == "mori"
        or "aiter" in words
        or any(name.startswith(_AMD_VARIABLES) for name in deployment.env)
        or any(gpu.startswith(_AMD_GPUS) for gpu in gpus)
    )
    return Accelerator.AMD if amd else Accelerator.NVIDIA


def _words(deployment: Deployment) -> Iterator[str]:
    """Yields what the roles set their backends and devices to."""
    roles = (deployment.prefill, deployment.decode, deployment.unified, deployment.encoder)
    for spec in (deployment.workers, *roles):
        for name, value in spec.flags.items():
            plain = name.lstrip("-").replace("_", "-")
            if isinstance(value, str) and (plain.endswith("attention-backend") or plain == "device"):
                yield value.lower()
