"""More or fewer workers of a simulated run: the real difference of plans, but processes in memory alone.

A worker that is added waits like any other simulated process. Called by `simulated_source`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pdpanel.engine.errors import ConflictError
from pdpanel.panel.deployment import Deployment, dump_deployment, parse_deployment
from pdpanel.panel.host_facts import HostFacts
from pdpanel.panel.launch import LaunchPlan, ProcessSpec
from pdpanel.panel.plan import RunIds, plan
from pdpanel.panel.scaling.as_json import counts_by_role, preview_json
from pdpanel.panel.scaling.difference import compare
from pdpanel.panel.scaling.proposal import digest_of
from pdpanel.panel.scaling.replan import replanned
from pdpanel.panel.scaling.room import findings_of, room_of
from pdpanel.panel.scaling.run_scaling import ScalePreview
from pdpanel.panel.scaling.scaled import counts_of, scaled
from pdpanel.panel.scaling.text import lines_of
from pdpanel.panel.web.port import ProcessView, RunView

__all__ = ["SimulatedScaling", "resized"]

_HOST = HostFacts("here", 8, "/opt/python")
_WORKER_BYTES = 1 << 30


def resized(view: RunView, number: int, added: Sequence[ProcessSpec], removed: Sequence[str], now: float) -> RunView:
    """Returns a run with other processes, those that are added starting."""
    fresh = [
        ProcessView(spec.name, spec.role.value, "starting", pid=number * 100 + 50 + place, started_s=now)
        for place, spec in enumerate(added)
    ]
    left = [process for process in view.processes if process.name not in removed]
    names = {one.name for one in fresh}
    gone = dict.fromkeys((*view.removed, *removed))
    kept = tuple(name for name in gone if name not in names)
    return replace(view, processes=tuple(sorted((*fresh, *left), key=lambda one: one.role)), removed=kept)


class SimulatedScaling:
    """The `Scaling` of simulated runs.

    Args:
        find: gives a run as it is.
        resize: takes the processes that are added and the names of those that are removed.
        note: hears of every change that was asked for.
    """

    def __init__(
        self,
        find: Callable[[str], RunView],
        resize: Callable[[str, Sequence[ProcessSpec], Sequence[str]], None],
        note: Callable[..., None],
    ) -> None:
        self._find = find
        self._resize = resize
        self._note = note
        self._plans: dict[str, tuple[Deployment, LaunchPlan]] = {}

    def preview(self, run_id: str, counts: Mapping[str, int]) -> Mapping[str, Any]:
        return preview_json(self._preview(run_id, counts)[0])

    def apply(self, run_id: str, counts: Mapping[str, int], shown: str) -> None:
        preview, after, new = self._preview(run_id, counts)
        if preview.id != shown:
            raise ConflictError("run", run_id, "has changed since the difference was shown", "look at it again")
        self._note("scale", run_id, dict(counts))
        self._plans[run_id] = (after, new)
        self._resize(run_id, preview.difference.added, [spec.name for spec in preview.difference.removed])

    def _preview(self, run_id: str, counts: Mapping[str, int]) -> tuple[ScalePreview, Deployment, LaunchPlan]:
        view = self._find(run_id)
        if view.attached:
            raise ConflictError("run", run_id, "was not started here, so it is only watched", "scale it there")
        ids = RunIds(run_id, f"/runs/{run_id}", "/cache")
        before, old = self._plans.get(run_id) or self._of(view, ids)
        after = scaled(before, counts_by_role(counts))
        new = replanned(old, after, _HOST, ids)
        difference = compare(old, new)
        numbers = counts_of(after)
        used = dict.fromkeys(numbers, _WORKER_BYTES)
        room = room_of(difference, sum(numbers.values()), used, _HOST.cores, 4 * _WORKER_BYTES)
        text = dump_deployment(after)
        lines = tuple(lines_of(difference))
        findings = tuple(findings_of(room, on_cpu=True))
        shown = ScalePreview(digest_of(old, new, text), counts_of(before), numbers, difference, lines, room, findings)
        return shown, after, new

    def _of(self, view: RunView, ids: RunIds) -> tuple[Deployment, LaunchPlan]:
        roles = [process.role for process in view.processes]
        counts = {role: {"count": roles.count(role)} for role in ("prefill", "decode", "unified") if role in roles}
        deployment = parse_deployment({"model": view.model, "transport": view.transport, "name": "pd", **counts})
        return deployment, plan(deployment, _HOST, ids)
