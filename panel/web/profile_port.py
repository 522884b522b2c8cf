"""What the profile of a process needs of the panel: one Protocol, in plain values.

`panel.profile.Profiles` is the real one; a test's source brings another.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

__all__ = ["ProfilePort"]


class ProfilePort(Protocol):
    """Profiles of workers; may block, raises only PdpanelError."""

    def status(self, run_id: str, name: str) -> Mapping[str, Any]:
        """Returns where the last profile of a process stands."""
        ...

    def start(self, run_id: str, name: str) -> Mapping[str, Any]:
        """Begins one."""
        ...

    def stop(self, run_id: str, name: str) -> Mapping[str, Any]:
        """Ends it, and returns once its traces are written."""
        ...

    def trace(self, run_id: str, name: str, rank: int) -> Path:
        """Returns the file of a rank's last trace."""
        ...

    def summary(self, run_id: str, name: str, rank: int = 0) -> Mapping[str, Any]:
        """Returns one page about a rank's last trace."""
        ...
