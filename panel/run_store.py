"""The directories of all runs, and what each run is now: as its runner says, or as it lies on disk without one.

Reads only. Ids that come from outside are looked up among the known ones and never become paths by themselves.
`panel.runs` and `panel.run_start` ask.
"""

from __future__ import annotations

import builtins
from contextlib import suppress
from dataclasses import replace

from ..engine.errors import ConfigError, ConflictError, NotFoundError, PdpanelError, PeerError
from .config import PanelConfig
from .ended_records import EndedRecords
from .launch import decode_plan
from .port_promises import PortPromises, is_living
from .rundir import RunDir
from .runner import protocol
from .runner.client import ask
from .runner.lifecycle import FINAL, RunState
from .runner.state import RunRecord, read_record
from .state_dir import check_state_dir
from .unsupervised import without_runner

__all__ = ["RunStore"]


class RunStore:
    """The runs below one state folder.

    Args:
        config: where they are.

    Attributes:
        promises: the ports of all runs of this user, of other state folders too.
    """

    def __init__(self, config: PanelConfig) -> None:
        self._config = config
        self.promises = PortPromises(config.runtime_dir)
        self._ended = EndedRecords()

    def list(self) -> builtins.list[RunDir]:
        """Returns the directories of all runs.

        Raises:
            ConfigError: the state directory is from a newer version, or cannot be read.
        """
        check_state_dir(self._config.state_dir)
        try:
            return [RunDir(path) for path in sorted(self._config.runs_dir.iterdir()) if (path / "state.json").exists()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise PdpanelError(f"The runs in {self._config.runs_dir} cannot be read: {error.strerror}.") from None

    def new(self, run_id: str) -> RunDir:
        """Returns the directory of a run that may not exist yet."""
        return RunDir(self._config.runs_dir / run_id)

    def known(self, run_id: str) -> RunDir:
        """Returns the directory of a run.

        Raises:
            NotFoundError: there is no such run.
        """
        for rundir in self.list():
            if rundir.run_id == run_id:
                return rundir
        raise NotFoundError("run", run_id, "is not a run of this user", "name one that `pdpanel status` lists")

    def look(self, rundir: RunDir) -> RunRecord | None:
        """Returns the run as it is now; None when its record cannot be read."""
        record = self._ended.read(rundir)
        if record is not None and record.state is RunState.STOPPED:
            return record
        try:
            # Of a record that the disk has lost, too.
            return ask(rundir, protocol.GetStatus()).run
        except (PeerError, ConflictError):
            if record is None:
                return None
        if rundir.is_supervised() and record.state not in FINAL:
            # Of one that is about to take the run over for the first time nothing can be expected yet.
            silent = "" if record.runner_pid is None else "its runner does not answer"
            return replace(record, notice=record.notice or silent)
        # It may have ended properly between the two looks.
        return without_runner(read_record(rundir.state) or record, rundir)

    def record(self, rundir: RunDir) -> RunRecord:
        """Returns the record on disk.

        Raises:
            NotFoundError: it cannot be read.
        """
        record = read_record(rundir.state)
        if record is None:
            raise NotFoundError("run", rundir.run_id, "has no readable state", "remove its folder")
        return record

    def gpus_in_use(self) -> frozenset[str]:
        """Returns the GPUs that the plans of the living runs name."""
        used: set[str] = set()
        for rundir in self.list():
            if is_living(rundir):
                with suppress(OSError, ConfigError):
                    plan = decode_plan(rundir.plan.read_bytes())
                    used |= {gpu for spec in plan.processes for gpu in spec.gpus}
        return frozenset(used)

    def promised_ports(self) -> dict[int, str]:
        """Returns the ports of this user's living runs, bound yet or not, with the run that each belongs to."""
        promised = self.promises.promised()
        for rundir in self.list():
            record = read_record(rundir.state)
            if record is not None and is_living(rundir):
                promised |= {port: record.id for process in record.processes for port in process.ports.values()}
        return promised
