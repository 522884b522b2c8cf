"""The roles whose workers stand beside each other, so that there can be one more or one less."""

from __future__ import annotations

from ..launch import Role

__all__ = ["SCALABLE"]

SCALABLE = (Role.PREFILL, Role.DECODE, Role.UNIFIED)
