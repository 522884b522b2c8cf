"""What the Attach form needs of the panel: one form and one Protocol, in plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..attach.found_results import FoundLog

__all__ = ["AttachForm", "AttachedWorker", "Attachments"]


@dataclass(frozen=True, slots=True)
class AttachedWorker:
    """A worker by its URL; `role` is prefill, decode, unified or empty, where it tells its role itself."""

    url: str
    role: str = ""


@dataclass(frozen=True, slots=True)
class AttachForm:
    """What the Attach button sends.

    Attributes:
        api_key: never shown again.
    """

    name: str = "attached"
    router: str = ""
    workers: Sequence[AttachedWorker] = ()
    api_key: str = field(default="", repr=False)
    log_folder: str = ""
    logs: Sequence[str] = ()


class Attachments(Protocol):
    """Deployments that somebody else started; each method may block and raises only PdpanelError."""

    def attach(self, form: AttachForm) -> str:
        """Begins to watch a deployment and returns the run's id."""
        ...

    def found_results(self, run_id: str) -> Sequence[FoundLog]:
        """Returns the logs of an attached run that hold results of benchmarks."""
        ...

    def results_in(self, run_id: str, log: str) -> Sequence[Mapping[str, Any]]:
        """Returns the results in one of them, as entries of the Benchmark tab; raises NotFoundError for another."""
        ...

    def key_for(self, run_id: str, url: str) -> str:
        """Returns the API key that a question of the run may carry to `url`; empty for none."""
        ...

    def findings(self, run_id: str) -> Mapping[str, object]:
        """Returns what all logs of a run say together: {findings, notes}."""
        ...
