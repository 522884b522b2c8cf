"""A verdict as JSON values, the same for the REST API and the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from .values import Verdict

__all__ = ["plain_verdict"]


def plain_verdict(verdict: Verdict) -> Mapping[str, object]:
    """Returns the fields of a verdict as JSON values."""
    return asdict(verdict)
