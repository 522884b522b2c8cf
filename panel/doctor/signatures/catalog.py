"""All known signatures, in the order in which they are tried: the first that matches a line explains it.

Specific messages come before general ones, so Mooncake's and the engines' before the kernel's.
"""

from __future__ import annotations

from . import accelerator, distributed, host, model, mooncake, mooncake_rdma, pdpanel, router, sglang, vllm
from .signature import Signature

__all__ = ["SIGNATURES"]

SIGNATURES: tuple[Signature, ...] = (
    *pdpanel.SIGNATURES,
    *mooncake_rdma.SIGNATURES,
    *mooncake.SIGNATURES,
    *sglang.SIGNATURES,
    *vllm.SIGNATURES,
    *router.SIGNATURES,
    *accelerator.SIGNATURES,
    *distributed.SIGNATURES,
    *model.SIGNATURES,
    *host.SIGNATURES,
)
