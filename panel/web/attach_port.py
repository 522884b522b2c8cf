"""What the Attach form needs of the panel: one form and one Protocol, in plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

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

    def key_for(self, run_id: str, url: str) -> str:
        """Returns the API key that a question of the run may carry to `url`; empty for none."""
        ...

    def findings(self, run_id: str) -> Mapping[str, object]:
        """Returns what all logs of a run say together: {findings, notes}."""
        ...
