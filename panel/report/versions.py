"""Which versions of what a report was made with: the packages that matter, Python and the kernel."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

__all__ = ["versions"]

_PACKAGES = (
    "pdpanel gradio fastapi uvicorn torch transformers sglang vllm sglang-router mooncake-transfer-engine "
    "mooncake-transfer-engine-non-cuda mooncake-transfer-engine-cuda13 nixl nixl-cu12 nvidia-ml-py amdsmi"
).split()


def versions() -> dict[str, str]:
    """Returns name and version of each package that is installed, of Python and of the system."""
    found = {"python": platform.python_version(), "system": f"{platform.system()} {platform.release()}"}
    found["machine"] = platform.machine()
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
