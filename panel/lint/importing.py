"""Turns commands that somebody has into a Deployment. Pure: texts go in, a Deployment and findings come out."""

from __future__ import annotations

from dataclasses import dataclass

from ...nic_probe.finding import Finding
from ..deployment import Deployment

__all__ = ["Imported", "import_text"]


@dataclass(frozen=True, slots=True)
class Imported:
    """What came of a text: the deployment, None when there is none, and what could not be said."""

    deployment: Deployment | None
    findings: tuple[Finding, ...]


def import_text(text: str, name: str = "imported") -> Imported:
    """Returns the Deployment that launch commands describe."""
    return Imported(None, ())
