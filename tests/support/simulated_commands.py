"""Actions on whole simulated runs, and what a simulated host says before a start.

A model named `taken` meets a port that is in use; a transport `nixl` lacks its package. Called by `simulated_source`.
"""

from __future__ import annotations

from collections.abc import Callable

from pdpanel.engine.errors import ConfigError
from pdpanel.panel.deployment import Deployment, dump_deployment
from pdpanel.panel.start.start_check import StartReport, Surroundings, check_start
from pdpanel.panel.web.deploy_form import deployment_of_form
from pdpanel.panel.web.port import DeployForm, RunView

__all__ = ["SimulatedChecks", "SimulatedCommands"]

_CORES = 8


class SimulatedChecks:
    """A host of eight cores without NIXL."""

    def check(self, deployment: Deployment) -> StartReport:
        here = Surroundings(_CORES, 1 << 34, lambda package: package != "nixl", lambda name: None)
        refused = None
        if deployment.model == "taken" and deployment.router.port != 8001:
            refused = ConfigError(
                "router.port", 8000, "is in use on here", "write 8001, which is free, or leave it out"
            )
        return check_start(deployment, (), refused, here)


class SimulatedCommands:
    """Commands that note what was asked and change the run.

    Args:
        find: gives a run as it is.
        again: starts all processes of a run again.
        adopted: tells that a run has a runner again.
        ended: ends a run.
        note: takes what was asked for.
    """

    def __init__(
        self,
        find: Callable[[str], RunView],
        again: Callable[[str], None],
        adopted: Callable[[str], None],
        ended: Callable[[str], None],
        note: Callable[..., None],
    ) -> None:
        self._find = find
        self._again = again
        self._adopted = adopted
        self._ended = ended
        self._note = note

    def restart(self, run_id: str) -> str:
        return self._act("restart", run_id, self._again)

    def resume(self, run_id: str) -> str:
        return self._act("resume", run_id, self._again)

    def adopt(self, run_id: str) -> str:
        return self._act("adopt", run_id, self._adopted)

    def detach(self, run_id: str) -> str:
        return self._act("detach", run_id, self._ended)

    def deployment_text(self, run_id: str) -> str:
        run = self._find(run_id)
        of = [process.role for process in run.processes]
        form = DeployForm(run.mode, run.model, of.count("prefill") or 1, of.count("decode") or 1, run.transport)
        return dump_deployment(deployment_of_form(form))

    def _act(self, name: str, run_id: str, change: Callable[[str], None]) -> str:
        self._find(run_id)
        self._note(name, run_id)
        change(run_id)
        return run_id
