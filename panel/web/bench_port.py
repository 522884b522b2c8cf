"""What the Benchmark tab needs of `panel.load`, as one Protocol; `load.jobs.Loads` is it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ..accuracy.task import AccuracySpec
from ..load.spec import LoadSpec

__all__ = ["Bench"]


class Bench(Protocol):
    """The benchmarks of this user; every call may block and raises only PdpanelError and OSError."""

    def list(self) -> Sequence[dict[str, Any]]:
        """Returns every benchmark without its rows and curves, the newest first."""
        ...

    def get(self, load_id: str) -> dict[str, Any]:
        """Returns one with everything; raises NotFoundError for an id that is not known."""
        ...

    def start(
        self, spec: LoadSpec, *, name: str = "", labels: Mapping[str, str] | None = None, api_key: str = ""
    ) -> str:
        """Starts a load and returns its id at once; raises ConfigError for a field that cannot be."""
        ...

    def start_accuracy(
        self, spec: AccuracySpec, *, name: str = "", labels: Mapping[str, str] | None = None, api_key: str = ""
    ) -> str:
        """The same for an evaluation; raises ConfigError also where lm-eval is not installed."""
        ...

    def evaluates(self) -> bool:
        """Returns True when evaluations are possible."""
        ...

    def add(self, entries: Sequence[dict[str, Any]]) -> None:
        """Keeps entries that somebody else measured."""
        ...

    def stop(self, load_id: str) -> None:
        """Ends one that goes on; what it has measured is saved."""
        ...

    def remove(self, load_id: str) -> None:
        """Removes one that is over; raises ConflictError for one that goes on."""
        ...
