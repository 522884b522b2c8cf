"""The three deployments of the `pd` suite, all up at once on the same two cores; one at a time gets load.

Threads, cores and niceness are the planner's, ports the runner's. Blocking.
"""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from ....engine.errors import PdpanelError
from ...deployment import Deployment, parse_deployment
from ...load.prompts import TokenPrompts
from ...load.server import Served
from ...runs import Runs
from ..session import BenchRun
from .pd_plan import MIXED, OURS, PREFILL_FIRST, PdPlan

__all__ = ["Target", "deployments_of", "targets"]

_CORES = 2
_HTTP_S = 30.0


@dataclass(frozen=True, slots=True)
class Target:
    """A deployment that is up.

    Attributes:
        vocabulary: tokens that prompts are made of: the middle of the model's, where no special ones are.
    """

    name: str
    run: BenchRun
    vocabulary: range

    def served(self, seed: int) -> Served:
        """Returns what the load generator is to ask."""
        prompts = TokenPrompts(self.vocabulary, seed, "random tokens of the model's vocabulary")
        return Served("", prompts, {}, ignores_eos=True)


def deployments_of(plan: PdPlan, model: str) -> Mapping[str, Deployment]:
    """Returns the deployments by name; they differ in roles and in what a unified worker's step holds alone."""

    def one(name: str, roles: Mapping[str, int], flags: Mapping[str, str | bool] | None = None) -> Deployment:
        pool = {"max-total-tokens": str(plan.pool_tokens), **(flags or {})}
        counts = {role: {"count": roles.get(role, 0)} for role in ("prefill", "decode", "unified")}
        return parse_deployment({"name": f"bench-{name}", "model": model, **counts, "workers": {"flags": pool}})

    mixed = {"enable-mixed-chunk": True, "chunked-prefill-size": str(plan.mixed_budget)}
    return {
        OURS: one(OURS, {"prefill": 1, "decode": 1}),
        PREFILL_FIRST: one(PREFILL_FIRST, {"unified": plan.unified}),
        MIXED: one(MIXED, {"unified": plan.unified}, mixed),
    }


@contextmanager
def _on_two_cores() -> Iterator[None]:
    """What this thread starts meanwhile runs, and is planned, on two cores of the machine."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(allowed)[:_CORES])
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


@contextmanager
def targets(
    runs: Runs, wanted: Mapping[str, Deployment], tell: Callable[[str], None]
) -> Iterator[Mapping[str, Target]]:
    """Starts all, waits until all are ready, and stops them at the end.

    Raises:
        PdpanelError: one does not come up.
    """
    with ExitStack() as stack:
        started: dict[str, BenchRun] = {}
        with _on_two_cores():
            for name, deployment in wanted.items():
                view = runs.start(deployment)
                stack.callback(_stop, runs, view.id, tell)
                tell(f"started {view.id}")
                started[name] = BenchRun(runs, view.id, view.router_url)
        for run in started.values():
            run.wait_ready()
        yield {name: Target(name, run, _vocabulary(run.url)) for name, run in started.items()}


def _stop(runs: Runs, run_id: str, tell: Callable[[str], None]) -> None:
    try:
        runs.stop(run_id)
    except PdpanelError as error:
        tell(f"{run_id} could not be stopped: {error}")


def _vocabulary(url: str) -> range:
    with urllib.request.urlopen(url + "/model_info", timeout=_HTTP_S) as response:
        size = int(json.load(response)["vocab_size"])
    return range(size // 10, size * 9 // 10)
