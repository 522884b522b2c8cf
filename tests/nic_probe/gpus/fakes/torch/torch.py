"""Stands for torch at its boundary, with one NVIDIA GPU unless a variable hides it, or one of AMD's."""

from __future__ import annotations

import ctypes
import os
from types import SimpleNamespace

# What a library written in C sees of the environment.
_getenv = ctypes.CDLL(None).getenv
_getenv.restype = ctypes.c_char_p
_hip = os.environ.get("FAKE_TORCH") == "rocm"

__version__ = "2.9.1"
version = SimpleNamespace(hip="7.0.2" if _hip else None, cuda=None if _hip else "12.8")

_properties = SimpleNamespace(
    name="AMD Instinct MI300X" if _hip else "NVIDIA H100 80GB HBM3",
    total_memory=80 << 30,
    major=9,
    minor=4 if _hip else 0,
    uuid="11111111-0000-0000-0000-000000000000",
    pci_domain_id=0,
    pci_bus_id=0xAB,
    pci_device_id=0,
)
if _hip:
    _properties.gcnArchName = "gfx942:sramecc+:xnack-"


def _count() -> int:
    ordered = _getenv(b"CUDA_DEVICE_ORDER") == b"PCI_BUS_ID"
    return 1 if _getenv(b"CUDA_VISIBLE_DEVICES") is None and ordered else 0


cuda = SimpleNamespace(device_count=_count, get_device_properties=lambda _: _properties)
