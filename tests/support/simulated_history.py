"""Made-up runs that have ended, and reports, for tests of the page: `panel.web.history_port` and `report_port`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from pdpanel.engine.errors import NotFoundError
from pdpanel.panel.history.prune_plan import PruneItem, PruneKind, PrunePlan, PruneWish, choose_runs
from pdpanel.panel.history.summary import Peaks, RunSummary
from pdpanel.panel.redact import Redactor
from pdpanel.panel.report.report import Report, make_report
from pdpanel.panel.web.port import RunView

__all__ = ["SimulatedHistory", "SimulatedReports"]

_DAY_S = 86400.0
_RUN = RunSummary(
    id="pd-20250101-120000-abcd",
    name="pd",
    state="stopped",
    created_s=1_735_732_800.0,
    ended_s=1_735_736_400.0,
    duration_s=3600.0,
    model="SmolLM2-135M-Instruct",
    transport="mooncake",
    mode="pd",
    processes={"prefill": 2, "decode": 1, "router": 1},
    peaks=Peaks(4.2e8, 812.0, 24.0, 3.1e9),
    bytes_on_disk=12_582_912,
)
_FAILED = replace(
    _RUN,
    id="pd-20250102-080000-beef",
    state="failed",
    created_s=_RUN.created_s + _DAY_S,
    ended_s=_RUN.created_s + _DAY_S + 12.0,
    duration_s=12.0,
    transport="tcp",
    peaks=Peaks(),
    crashes=3,
    notice="prefill-0 <b>ended</b> by SIGKILL",
    bytes_on_disk=40_960,
)
_UNIFIED = replace(
    _RUN,
    id="pd-20250103-080000-cafe",
    created_s=_RUN.created_s + 2 * _DAY_S,
    ended_s=None,
    duration_s=None,
    mode="unified",
    processes={"unified": 1, "router": 1},
    peaks=Peaks(None, 410.0, 9.0, 9e8),
    notice="ended by a restart of this host",
)


class SimulatedHistory:
    """A `History` whose runs exist in memory alone.

    Args:
        runs: the runs that have ended before.
        ended: gives those that have ended since.
        forget: is told the id of each that is removed.

    Attributes:
        runs: of those that had ended before, the ones that are left.
        calls: every action that was asked for.
    """

    def __init__(
        self,
        runs: Sequence[RunSummary] = (_UNIFIED, _FAILED, _RUN),
        ended: Callable[[], Sequence[RunView]] = tuple,
        forget: Callable[[str], None] = lambda run_id: None,
    ) -> None:
        self.runs = list(runs)
        self.calls: list[tuple[object, ...]] = []
        self._ended = ended
        self._forget = forget

    def list(self) -> Sequence[RunSummary]:
        """Returns the runs that are left."""
        return [*map(_summary, self._ended()), *self.runs]

    def remove(self, run_ids: Sequence[str]) -> int:
        """Forgets runs."""
        self.calls.append(("remove", *run_ids))
        runs = self.list()
        for run_id in run_ids:
            if all(run.id != run_id for run in runs):
                raise NotFoundError("run", run_id, "is not a run of this user", "choose one of the list")
            self._forget(run_id)
        self.runs = [run for run in self.runs if run.id not in run_ids]
        return sum(run.bytes_on_disk for run in runs if run.id in run_ids)

    def plan(self, wish: PruneWish) -> PrunePlan:
        """Returns the runs that a wish is about, all of them being very old."""
        chosen = choose_runs(self.list(), wish, time.time())
        items = [PruneItem(kind, run.id, (), run.bytes_on_disk, why) for run, why in chosen for kind in wish.parts]
        if wish.models:
            items.append(PruneItem(PruneKind.MODEL, "unused-model", (), 93_000_000, "no remaining run uses it"))
        return PrunePlan(tuple(items))

    def prune(self, plan: PrunePlan) -> PrunePlan:
        """Forgets the runs of a plan."""
        self.remove([item.name for item in plan.items if item.kind is PruneKind.RUN])
        return plan


def _summary(run: RunView) -> RunSummary:
    roles = [process.role for process in run.processes]
    return RunSummary(
        id=run.id,
        name=run.name,
        state=run.state,
        created_s=run.created_s,
        ended_s=run.ended_s,
        duration_s=None if run.ended_s is None else run.ended_s - run.created_s,
        model=run.model,
        transport=run.transport,
        mode=run.mode,
        processes={role: roles.count(role) for role in roles},
        peaks=Peaks(),
        bytes_on_disk=1_000_000,
        attached=run.attached,
    )


class SimulatedReports:
    """`Reports` of two small files."""

    def report(self, run_id: str) -> Report:
        """Returns a report that had one secret in it."""
        texts = (("README.txt", f"about {run_id}"), ("logs/prefill-0.log", "HF_TOKEN=hf_0123456789abcdefghijklmnop\n"))
        return make_report(texts, Redactor())
