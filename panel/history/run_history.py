"""The runs that have ended: what they came to, and what can be freed of them.

The domain side of `GET /api/history`, `POST /api/history/remove`, `/api/prune` and of the commands history and prune.
Each run in the answer has the fields of `RunSummary`: id, name, state, created_s, ended_s, duration_s, model,
transport, mode, processes {role: count}, peaks {kv_bytes_per_s, generated_tokens_per_s, running, rss_bytes}, crashes,
notice, bytes_on_disk, attached; times are unix seconds, what nobody knows is null. Calls block.
"""

from __future__ import annotations

import builtins
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from ...engine.errors import ConflictError, PdpanelError
from ..config import PanelConfig
from ..disk_use import bytes_of
from ..file_lock import locked
from ..run_store import RunStore
from ..rundir import RunDir
from ..runner.lifecycle import FINAL
from ..runner.state import read_record
from ..state_dir import claim_state_dir
from .ended_run import summary_of
from .leftovers import leftovers, unused_models
from .prune_plan import PruneItem, PruneKind, PrunePlan, PruneWish, choose_runs
from .removal import log_files, remove_files, remove_parts, remove_run, sample_files
from .summary import RunSummary

__all__ = ["RunHistory"]

_OLD_S = 86400.0


class RunHistory:
    """The ended runs below one state folder.

    Args:
        config: where they are.
    """

    def __init__(self, config: PanelConfig) -> None:
        self._config = config
        self._store = RunStore(config)

    def list(self) -> builtins.list[RunSummary]:
        """Returns every run that has ended, the one that ended last first."""
        found = []
        for rundir in self._store.list():
            record = self._store.look(rundir)
            if record is not None and record.state in FINAL and not rundir.is_supervised():
                found.append(summary_of(rundir, record))
        found.sort(key=lambda run: (run.ended_s or run.created_s, run.id), reverse=True)
        return found

    def remove(self, run_ids: Sequence[str]) -> int:
        """Removes ended runs and returns the bytes that this frees.

        Raises:
            NotFoundError: there is no such run; nothing is removed then.
            ConflictError: one of them lives; the ones before it are removed.
        """
        rundirs = [self._store.known(run_id) for run_id in dict.fromkeys(run_ids)]
        return sum(remove_run(rundir, self._config.state_dir) for rundir in rundirs)

    def plan(self, wish: PruneWish) -> PrunePlan:
        """Returns what `prune` would remove; changes nothing.

        Raises:
            NotFoundError: the wish names a run that there is not.
            ConflictError: the wish names a run that lives.
        """
        runs = self.list()
        for run_id in wish.runs or ():
            rundir = self._store.known(run_id)
            if all(run.id != run_id for run in runs):
                raise ConflictError("run", rundir.run_id, "has not ended", "stop it first")
        chosen = choose_runs(runs, wish, time.time())
        items = [item for run, why in chosen for item in self._items(run, why, wish.parts)]
        if wish.runs is None:
            items += self._unreadable()
            items += leftovers(self._config.state_dir, self._config.cache_dir)
        if wish.models:
            gone = {run.id for run, _ in chosen} if PruneKind.RUN in wish.parts else set[str]()
            items += unused_models(self._config.cache_dir, self._models(gone))
        return PrunePlan(tuple(items))

    def prune(self, plan: PrunePlan) -> PrunePlan:
        """Removes what `plan` names, and returns what was removed, with what it freed.

        A run that has come to life since is left; so is what the disk refuses.

        Raises:
            ConfigError: the state directory cannot be written.
        """
        claim_state_dir(self._config.state_dir)
        done = []
        # No start meanwhile: it could be about to use a model.
        with locked(self._config.state_dir / "start.lock"):
            for item in plan.items:
                try:
                    done.append(replace(item, size_bytes=self._remove(item)))
                except (PdpanelError, OSError):
                    continue
            if any(item.kind is PruneKind.MODEL for item in done):
                # They say that a model was fetched before; the next start looks again.
                remove_files([path for path in (self._config.state_dir / "models").glob("*") if path.is_file()])
        return PrunePlan(tuple(done))

    def _remove(self, item: PruneItem) -> int:
        match item.kind:
            case PruneKind.RUN:
                return remove_run(self._store.known(item.name), self._config.state_dir)
            case PruneKind.LOGS:
                rundir = self._store.known(item.name)
                return remove_parts(rundir, log_files(rundir))
            case PruneKind.SAMPLES:
                rundir = self._store.known(item.name)
                return remove_parts(rundir, sample_files(rundir))
            case _:
                return remove_files([Path(path) for path in item.paths])

    def _items(self, run: RunSummary, why: str, parts: Iterable[PruneKind]) -> builtins.list[PruneItem]:
        rundir = self._store.new(run.id)
        items = []
        for kind in parts:
            paths = _files(rundir, kind)
            if paths:
                size = sum(bytes_of(path) for path in paths)
                items.append(PruneItem(kind, run.id, tuple(str(path) for path in paths), size, why))
        return items

    def _unreadable(self) -> builtins.list[PruneItem]:
        """Returns the runs that nobody can show or resume; what lives of them is seen when they are removed."""
        return [
            PruneItem(PruneKind.RUN, rundir.run_id, (str(rundir.path),), bytes_of(rundir.path), "its record is damaged")
            for rundir in self._store.list()
            if read_record(rundir.state) is None and time.time() - (rundir.last_sign() or 0) > _OLD_S
        ]

    def _models(self, gone: set[str]) -> set[str]:
        """Returns the models of all runs, living ones too, that are not in `gone`."""
        records = (read_record(rundir.state) for rundir in self._store.list() if rundir.run_id not in gone)
        return {record.model for record in records if record is not None}


def _files(rundir: RunDir, kind: PruneKind) -> list[Path]:
    match kind:
        case PruneKind.LOGS:
            return log_files(rundir)
        case PruneKind.SAMPLES:
            return sample_files(rundir)
        case _:
            return [rundir.path]
