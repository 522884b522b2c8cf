"""Which torch, which Mooncake and which distribution packages fit a machine: the decisions of `setup_host`.

Pure: asks nothing, runs nothing, installs nothing. Standard library alone, for Python 3.8 and newer.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

__all__ = [
    "INSTALL",
    "LIBRARIES",
    "MOONCAKE",
    "MOONCAKE_VERSION",
    "OPTIONAL",
    "PROGRAMS",
    "PYTHONS",
    "TORCH",
    "Choice",
    "Machine",
    "choose_mooncake",
    "choose_torch",
    "cpu_torch",
    "failure",
    "last_line",
    "package_command",
]

PYTHONS = ((3, 11), (3, 12), (3, 13))
TORCH = "2.13.0"
OLDEST_TORCH = (2, 6)
CPU_TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
MOONCAKE = "mooncake-transfer-engine"
MOONCAKE_VERSION = ">=0.3.13"

# What Mooncake's engine loads from the system; nothing of it is in the wheel.
LIBRARIES = {"ibverbs": "libibverbs.so.1", "numa": "libnuma.so.1", "curl": "libcurl.so.4"}
PROGRAMS = {
    "chromium": ("chromium", "chromium-browser", "google-chrome"),
    "etcd": ("etcd",),
    "curl-program": ("curl",),
    "slurm": ("sbatch",),
    # A person's own PATH often lacks /usr/sbin.
    "iproute": ("ip", "/usr/sbin/ip", "/sbin/ip"),
    "nft": ("nft", "/usr/sbin/nft", "/sbin/nft"),
    "systemd": ("systemd-analyze",),
}
# Tests skip without these, so that they are left out where the package manager has none.
OPTIONAL = frozenset({"slurm", "iproute", "nft", "systemd"})
INSTALL = {
    "apt-get": "apt-get install -y --no-install-recommends",
    "dnf": "dnf install -y",
    "zypper": "zypper --non-interactive install",
    "pacman": "pacman -S --noconfirm --needed",
}
# By package manager, in the order of INSTALL, with spaces between several; without a name the package manager has none.
NAMES = {
    "ibverbs": ("libibverbs1", "libibverbs", "libibverbs1", "rdma-core"),
    "numa": ("libnuma1", "numactl-libs", "libnuma1", "numactl"),
    "curl": ("libcurl4", "libcurl", "libcurl4", "curl"),
    "venv": ("python3-venv", "", "", ""),
    "chromium": ("chromium", "chromium", "chromium", "chromium"),
    "etcd": ("etcd-server", "etcd", "etcd", "etcd"),
    "curl-program": ("curl", "curl", "curl", "curl"),
    "slurm": ("slurmctld slurmd slurm-client munge", "", "", ""),
    "iproute": ("iproute2", "iproute", "iproute2", "iproute2"),
    "nft": ("nftables", "nftables", "nftables", "nftables"),
    "systemd": ("systemd", "systemd", "systemd", "systemd"),
}
# How pip and the distributions' package managers say that there is no network, and how they begin an error.
_NO_NETWORK = (
    "resolution",
    "resolving",
    "resolve host",
    "establish a new connection",
    "unreachable",
    "timed out",
)
_ERROR = ("ERROR:", "error:", "E:", "Error:")


@dataclass(frozen=True)
class Machine:
    """What decides which builds fit.

    Attributes:
        nvidia: there is an NVIDIA driver.
        cuda_major: the CUDA that this driver speaks; None without one, or when it does not say.
        rocm: there is an AMD compute driver.
        npu: there is an Ascend NPU driver.
    """

    system: str = "Linux"
    nvidia: bool = False
    cuda_major: int | None = None
    rocm: bool = False
    npu: bool = False


@dataclass(frozen=True)
class Choice:
    """A package and why it is the one; an empty package is none."""

    package: str
    why: str


def choose_mooncake(machine: Machine) -> Choice:
    """Returns the one Mooncake build for a machine: they share an import name, so there can be only one."""
    if machine.system != "Linux":
        return Choice("", f"Mooncake has no build for {machine.system}, so workers use the tcp transport")
    if machine.cuda_major is not None and machine.cuda_major >= 12:
        package = MOONCAKE if machine.cuda_major == 12 else f"{MOONCAKE}-cuda13"
        return Choice(package, f"the NVIDIA driver speaks CUDA {machine.cuda_major}")
    if machine.nvidia:
        spoken = "an unknown CUDA" if machine.cuda_major is None else f"CUDA {machine.cuda_major}"
        return Choice(f"{MOONCAKE}-non-cuda", f"the NVIDIA driver speaks {spoken} and the builds for it need 12 or 13")
    if machine.rocm:
        return Choice(f"{MOONCAKE}-rocm", "there is an AMD compute driver")
    if machine.npu:
        return Choice(f"{MOONCAKE}-npu", "there is an Ascend NPU driver")
    return Choice(f"{MOONCAKE}-non-cuda", "there is no GPU driver")


def choose_torch(machine: Machine, installed: str | None) -> Choice:
    """Returns the torch to install, given the version that the venv has.

    A package that ends in `+cpu` is the build without CUDA; `cpu_torch` says from where.
    """
    numbers = tuple(int(part) for part in re.findall(r"\d+", (installed or "").partition("+")[0])[:2])
    if numbers >= OLDEST_TORCH:
        return Choice("", f"torch {installed} is there and fits")
    if machine.system != "Linux":
        return Choice(f"torch=={TORCH}", "torch for this system has no CUDA libraries")
    if (machine.cuda_major or 0) >= 12:
        return Choice(f"torch=={TORCH}", "torch with CUDA, for the NVIDIA driver")
    if machine.rocm or machine.npu:
        kind = "ROCm" if machine.rocm else "Ascend"
        why = f"the CPU build of torch; for the {kind} build, install it into .venv first and it is kept"
        return Choice(f"torch=={TORCH}+cpu", why)
    return Choice(f"torch=={TORCH}+cpu", "the CPU build of torch, several GB smaller than the one with CUDA")


def cpu_torch(report: str) -> list[str]:
    """Returns pip's arguments for the CPU build, given pip's dry-run report on the plain version.

    The plain name is right where the configured index has the CPU build under it, as a `+cpu` version or as
    a local file.
    """
    plain = [f"torch=={TORCH}"]
    try:
        chosen = json.loads(report)["install"][0]
        version, url = chosen["metadata"]["version"], chosen["download_info"]["url"]
    except (ValueError, LookupError, TypeError):
        version = url = ""
    if version.endswith("+cpu") or url.startswith("file:"):
        return plain
    return [f"torch=={TORCH}+cpu", "--extra-index-url", CPU_TORCH_INDEX]


def package_command(manager: str, missing: list[str], unknown: frozenset[str] = frozenset()) -> list[str]:
    """Returns the one command that installs what is missing; empty when the manager has no name for it.

    Args:
        manager: a key of INSTALL, or nothing.
        missing: keys of NAMES.
        unknown: names that this release lacks; Debian before 12 has etcd's server under another name.
    """
    column = list(INSTALL).index(manager) if manager in INSTALL else -1
    names = [NAMES[key][column] if column >= 0 else "" for key in missing]
    names = ["etcd" if name == "etcd-server" and name in unknown else name for name in names]
    return [*INSTALL[manager].split(), *" ".join(names).split()] if all(names) else []


def failure(what: str, output: str) -> str:
    """Returns one sentence on why a package manager failed, from what it wrote."""
    if any(sign in output for sign in _NO_NETWORK):
        remedy = "connect to a network, or configure a mirror (for pip PIP_INDEX_URL)"
        return f"{what} needs a package index and none could be reached: {remedy}."
    lines = [line.strip() for line in output.splitlines() if "subprocess-exited-with-error" not in line]
    errors = [line.partition(":")[2].strip() for line in lines if line.startswith(_ERROR)]
    return f"{what} failed; the last word was: {(errors or [last_line(output)])[-1][:300]}"


def last_line(output: str) -> str:
    """Returns the last line that a program wrote, short enough for a sentence."""
    return (output.strip().splitlines() or ["nothing"])[-1][:300]
