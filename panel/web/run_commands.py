"""Actions on whole runs, over the real runs: the `RunCommands` of the Deploy view.

Only translation. Called from worker threads by `deploy_routes`.
"""

from __future__ import annotations

from ...engine.errors import ConflictError
from ..runs import Runs

__all__ = ["RunsCommands"]


class RunsCommands:
    """The `RunCommands` over a `Runs`."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs

    def restart(self, run_id: str) -> str:
        """Ends all processes of a run and starts them again."""
        return self._runs.restart(run_id).id

    def resume(self, run_id: str) -> str:
        """Starts an ended run again."""
        return self._runs.resume(run_id).id

    def adopt(self, run_id: str) -> str:
        """Gives a run whose runner died a new one."""
        return self._runs.adopt(run_id).id

    def detach(self, run_id: str) -> str:
        """Ends the watching of a run that somebody else started; stopping its watcher ends no process of theirs."""
        if not self._runs.get(run_id).attached:
            raise ConflictError("run", run_id, "was started here, so there is nothing to detach", "stop it instead")
        return self._runs.stop(run_id).id

    def deployment_text(self, run_id: str) -> str:
        """Returns the YAML that a run was started from."""
        return self._runs.deployment_text(run_id)
