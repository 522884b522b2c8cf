"""Which number a GPU has for the CUDA, HIP or CANN runtime, and which in a process that inherits an environment.

Pure. NVML counts in the order of the PCI bus and knows of no variable; the runtimes count in their own order, of
what their variables leave visible. Called by `probe`. The rules of each list:

- CUDA_VISIBLE_DEVICES (CUDA Programming Guide, "CUDA Environment Variables"; torch.cuda parses it alike): numbers
  or prefixes of UUIDs. An entry that is no device ends the list; a device named twice hides all.
- ROCR_VISIBLE_DEVICES (ROCR-Runtime, amd_filter_device.cpp): numbers or beginnings of UUIDs. An entry that is no
  device, or one seen before, ends the list.
- HIP_VISIBLE_DEVICES, or CUDA_VISIBLE_DEVICES when that is empty (clr, rocdevice.cpp): numbers of what ROCR left,
  or parts of UUIDs. An entry that is no device ends the list, one seen before is skipped, an empty text is no list.
- ASCEND_RT_VISIBLE_DEVICES (CANN, environment variables): numbers. An entry that is no device ends the list.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..reading import Reading
from .address import pci_order
from .gpu import Gpu, Vendor

__all__ = [
    "Choice",
    "ascend_choice",
    "cuda_choice",
    "hip_choice",
    "rocr_choice",
    "runtime_indices",
    "visible_indices",
]

_CUDA = "CUDA_VISIBLE_DEVICES"
_ROCR = "ROCR_VISIBLE_DEVICES"
_HIP = "HIP_VISIBLE_DEVICES"
_ASCEND = "ASCEND_RT_VISIBLE_DEVICES"
_ORDER = "CUDA_DEVICE_ORDER"
_RUNTIMES = {Vendor.NVIDIA: "CUDA", Vendor.AMD: "HIP", Vendor.HUAWEI: "CANN", Vendor.INTEL: "Level Zero"}
# What strtol takes at the start of a text: CUDA stops there, ROCR wants nothing behind it.
_NUMBER = re.compile(r"[+-]?[0-9]{1,9}", re.ASCII)
_ANY_BASE = re.compile(r"[+-]?(?:0x[0-9a-f]{1,8}|[0-9]{1,9})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Choice:
    """What a list of devices leaves visible.

    Attributes:
        devices: numbers from before the list, in the order in which the list numbers them anew.
        problem: why the list does less than it says, as the end of a sentence; empty when it does not.
    """

    devices: tuple[int, ...]
    problem: str = ""


def cuda_choice(text: str, uuids: Sequence[str], migs: Sequence[Sequence[str]] = ()) -> Choice:
    """Returns what CUDA_VISIBLE_DEVICES leaves of the GPUs with these `uuids`, in CUDA's order.

    Args:
        text: the variable's value.
        uuids: one for each GPU; empty for one that is not known.
        migs: for each GPU the UUIDs of its MIG instances; the GPU of an instance counts as visible.
    """
    entries = [entry.strip() for entry in text.split(",")]
    kind = next((kind for kind in ("GPU-", "MIG-") if entries[0].startswith(kind)), "")
    chosen: list[int] = []
    seen: set[object] = set()
    for entry in entries:
        number = _cuda_device(entry, kind, uuids, migs)
        if number is None:
            return Choice(tuple(chosen), f"ends at {entry[:60]!r}, which is no device here")
        identity = entry if kind == "MIG-" else number
        if identity in seen:
            return Choice((), f"names {entry[:60]!r} twice, and so CUDA shows no device")
        seen.add(identity)
        if number not in chosen:
            chosen.append(number)
    return Choice(tuple(chosen))


def rocr_choice(text: str, uuids: Sequence[str]) -> Choice:
    """Returns what ROCR_VISIBLE_DEVICES leaves of the GPUs with these UUIDs, in the order of the kernel's nodes."""
    chosen: list[int] = []
    for entry in text.split(","):
        token = entry.strip().lower()
        if token.startswith("g"):
            matching = [index for index, uuid in enumerate(uuids) if len(token) >= 5 and uuid.lower().startswith(token)]
            number = matching[0] if len(matching) == 1 else -1
        else:
            number = _base_zero(token)
        if not 0 <= number < len(uuids):
            return Choice(tuple(chosen), f"ends at {entry[:60]!r}, which is no device here")
        if number in chosen:
            return Choice(tuple(chosen), f"ends at {entry[:60]!r}, which it has named before")
        chosen.append(number)
    return Choice(tuple(chosen))


def hip_choice(text: str, uuids: Sequence[str]) -> Choice:
    """Returns what HIP_VISIBLE_DEVICES leaves of the GPUs that ROCR left, in their order."""
    chosen: list[int] = []
    for entry in text.removesuffix(",").split(","):
        number = -1
        if "GPU-" in entry:
            number = next((index for index, uuid in enumerate(uuids) if entry in uuid), -1)
        elif entry.isascii() and entry.isdigit() and len(entry) < 9 and entry == str(int(entry)):
            number = int(entry)
        if not 0 <= number < len(uuids):
            return Choice(tuple(chosen), f"ends at {entry[:60]!r}, which is no device here")
        if number not in chosen:
            chosen.append(number)
    return Choice(tuple(chosen))


def ascend_choice(text: str, count: int) -> Choice:
    """Returns what ASCEND_RT_VISIBLE_DEVICES leaves of `count` NPUs."""
    chosen: list[int] = []
    for entry in text.split(","):
        token = entry.strip()
        number = int(token) if token.isascii() and token.isdigit() and len(token) < 9 else -1
        if not 0 <= number < count or number in chosen:
            return Choice(tuple(chosen), f"ends at {entry[:60]!r}, which is no further device here")
        chosen.append(number)
    return Choice(tuple(chosen))


def runtime_indices(
    gpus: Sequence[Gpu],
    environ: Mapping[str, str],
    *,
    models: Mapping[str, str],
    uncounted: Mapping[str, str],
    known: Mapping[str, int],
) -> dict[str, Reading[int]]:
    """Returns for each GPU's address its number when no variable hides a device.

    Args:
        gpus: all of the host, of any vendor.
        environ: may set CUDA_DEVICE_ORDER.
        models: what tells models of GPUs apart, by address; "" or absent when nothing does.
        uncounted: GPUs that the runtime does not see, with the reason.
        known: numbers that the vendor's library or driver gives.
    """
    indices: dict[str, Reading[int]] = {}
    for vendor in Vendor:
        unseen = (gpu.pci for gpu in gpus if gpu.vendor == vendor and gpu.pci in uncounted)
        indices |= {pci: Reading.unreadable(_RUNTIMES[vendor], uncounted[pci]) for pci in unseen}
        counted = sorted((gpu.pci for gpu in gpus if gpu.vendor == vendor and gpu.pci not in uncounted), key=pci_order)
        if vendor is Vendor.NVIDIA:
            indices |= _cuda_indices(counted, environ, models)
        elif vendor is Vendor.INTEL:
            reason = "is not asked how it numbers Intel's GPUs"
            indices |= {pci: Reading.unreadable(_RUNTIMES[vendor], reason) for pci in counted}
        elif counted and all(pci in known for pci in counted):
            indices |= {pci: Reading(known[pci], "the driver's order") for pci in counted}
        else:
            indices |= {pci: Reading(index, "PCI order") for index, pci in enumerate(counted)}
    return indices


def visible_indices(
    gpus: Sequence[Gpu],
    environ: Mapping[str, str],
    *,
    uuids: Mapping[str, str],
    migs: Mapping[str, Sequence[str]],
) -> dict[str, Reading[int]]:
    """Returns for each GPU's address its number in a process that inherits `environ`.

    Args:
        gpus: with their runtime indices.
        environ: may set the variables at the top of this file.
        uuids: as the runtime knows them, by address.
        migs: UUIDs of the MIG instances, by address.
    """
    visible = {gpu.pci: gpu.cuda_index for gpu in gpus}
    rules: Mapping[Vendor, Callable[[list[Gpu]], Mapping[str, Reading[int]]]] = {
        Vendor.NVIDIA: lambda ordered: _cuda_visible(ordered, environ, uuids, migs),
        Vendor.AMD: lambda ordered: _amd_visible(ordered, environ, uuids),
        Vendor.HUAWEI: lambda ordered: _listed(
            ordered, _ASCEND, environ, lambda text: ascend_choice(text, len(ordered))
        ),
    }
    for vendor, rule in rules.items():
        counted = [gpu for gpu in gpus if gpu.vendor == vendor and (gpu.cuda_index.known or _unordered(gpu))]
        visible |= rule(sorted(counted, key=lambda gpu: (gpu.cuda_index.otherwise(0), pci_order(gpu.pci))))
    return visible


def _cuda_device(entry: str, kind: str, uuids: Sequence[str], migs: Sequence[Sequence[str]]) -> int | None:
    if kind == "GPU-":
        matching = [index for index, uuid in enumerate(uuids) if uuid.startswith(entry)]
        return matching[0] if entry.startswith(kind) and len(matching) == 1 else None
    if kind == "MIG-":
        # The older form names the GPU and then the instance: MIG-GPU-<uuid>/1/0.
        parent = entry.removeprefix(kind).partition("/")[0]
        of_parent = (index for index, uuid in enumerate(uuids) if uuid and uuid == parent)
        of_instance = (index for index, names in enumerate(migs) if entry in names)
        return next(of_instance, next(of_parent, None))
    match = _NUMBER.match(entry)
    return int(match[0]) if match and 0 <= int(match[0]) < len(uuids) else None


def _base_zero(token: str) -> int:
    if not _ANY_BASE.fullmatch(token):
        return -1
    digits = token.lstrip("+-")
    octal = digits[0] == "0" and digits.isdigit() and len(digits) > 1
    try:
        return int(token, 8 if octal else 0)
    except ValueError:
        return -1  # An 8 or a 9 in an octal number.


def _cuda_indices(counted: list[str], environ: Mapping[str, str], models: Mapping[str, str]) -> dict[str, Reading[int]]:
    if environ.get(_ORDER) == "PCI_BUS_ID":
        return {pci: Reading(index, _ORDER) for index, pci in enumerate(counted)}
    kinds = {models.get(pci, "") for pci in counted}
    if len(kinds) > 1:
        reason = (
            "is not set, and CUDA then numbers different models by a guess of their speed; "
            "set CUDA_DEVICE_ORDER=PCI_BUS_ID"
        )
        return {pci: Reading.unreadable(_ORDER, reason) for pci in counted}
    # CUDA's default, FASTEST_FIRST, leaves equal models in the order of the bus.
    return {pci: Reading(index, "PCI order of equal models") for index, pci in enumerate(counted)}


def _unordered(gpu: Gpu) -> bool:
    return not gpu.cuda_index.known and gpu.cuda_index.source == _ORDER


def _cuda_visible(
    ordered: list[Gpu], environ: Mapping[str, str], uuids: Mapping[str, str], migs: Mapping[str, Sequence[str]]
) -> Mapping[str, Reading[int]]:
    text = environ.get(_CUDA)
    if text is None:
        split = (
            "is not set, and of a GPU that is split into MIG instances CUDA shows one instance alone; name one there"
        )
        return {gpu.pci: Reading.unreadable(_CUDA, split) for gpu in ordered if gpu.health.mig.value}
    names = [uuids.get(gpu.pci, "") for gpu in ordered]
    instances = [migs.get(gpu.pci, ()) for gpu in ordered]
    if any(map(_unordered, ordered)) and _NUMBER.match(text.strip()) and cuda_choice(text, names).devices:
        return {}  # The numbers in the list mean an order that is not known; the reason is that of the order.
    return _listed(ordered, _CUDA, environ, lambda listed: cuda_choice(listed, names, instances))


def _amd_visible(
    ordered: list[Gpu], environ: Mapping[str, str], uuids: Mapping[str, str]
) -> Mapping[str, Reading[int]]:
    def names(gpus: Sequence[Gpu]) -> list[str]:
        return [uuids.get(gpu.pci, "") for gpu in gpus]

    first = _listed(ordered, _ROCR, environ, lambda text: rocr_choice(text, names(ordered)))
    left = [gpu for gpu in ordered if first.get(gpu.pci, gpu.cuda_index).known]
    left.sort(key=lambda gpu: first.get(gpu.pci, gpu.cuda_index).otherwise(0))
    variable = next((name for name in (_HIP, _CUDA) if environ.get(name)), None)
    if variable is None:
        return first
    return {**first, **_listed(left, variable, environ, lambda text: hip_choice(text, names(left)))}


def _listed(
    ordered: list[Gpu], variable: str, environ: Mapping[str, str], choose: Callable[[str], Choice]
) -> dict[str, Reading[int]]:
    """Returns the numbers that a variable's list gives; nothing when it is not set."""
    text = environ.get(variable)
    if text is None:
        return {}
    choice = choose(text) if text.strip() else Choice((), "is empty, which hides every device")
    hidden = choice.problem or "does not name it"
    if text.strip():
        hidden = f"reads {text[:60]!r} and {hidden}"
    return {
        gpu.pci: Reading(choice.devices.index(position), variable)
        if position in choice.devices
        else Reading.unreadable(variable, hidden)
        for position, gpu in enumerate(ordered)
    }
