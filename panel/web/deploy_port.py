"""What the Deploy view asks beside the runs themselves: what a start would meet, and actions on whole runs.

Protocols alone; `start_checks` and `run_commands` fill them from the real runs, tests fill them by hand.
"""

from __future__ import annotations

from typing import Protocol

from ..deployment import Deployment
from ..start.start_check import StartReport

__all__ = ["RunCommands", "StartChecks"]


class StartChecks(Protocol):
    """Says what a start would meet; may block for a moment, raises only PdpanelError."""

    def check(self, deployment: Deployment) -> StartReport:
        """Returns what stands in the way of `deployment` on this host; starts and writes nothing."""
        ...


class RunCommands(Protocol):
    """Actions on whole runs; each returns the id of the run that goes on, and raises only PdpanelError."""

    def restart(self, run_id: str) -> str:
        """Ends all processes of a run and starts them again."""
        ...

    def resume(self, run_id: str) -> str:
        """Starts an ended run again."""
        ...

    def adopt(self, run_id: str) -> str:
        """Gives a run whose runner died a new one; its processes go on."""
        ...

    def detach(self, run_id: str) -> str:
        """Ends the watching of a run that somebody else started; its processes go on."""
        ...

    def deployment_text(self, run_id: str) -> str:
        """Returns the YAML that a run was started from."""
        ...
