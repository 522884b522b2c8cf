"""Removes segments that a person names, and nothing else.

All names are looked at before anything goes: one that is not registered, or whose engine still answers, stops the
whole removal. What goes is the entries that the survey read, not what may stand there by then. Called by the command
line.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...engine.errors import ConfigError
from .address import Scheme
from .http import remove_from_http
from .segment import Entry
from .state import Liveness, MetadataReport, Reach, Removal

__all__ = ["chosen_entries", "remove_entries"]


def chosen_entries(report: MetadataReport, labels: Sequence[str], *, force: bool = False) -> tuple[Entry, ...]:
    """Returns the entries of the segments called `labels`; this is the dry run.

    Args:
        force: also those of segments whose engine answers.

    Raises:
        ConfigError: a segment is not there, or its engine is.
    """
    by_label = {state.segment.label: state for state in report.segments.otherwise(())}
    chosen: list[Entry] = []
    for label in dict.fromkeys(labels):
        state = by_label.get(label)
        if state is None:
            raise ConfigError(
                "--remove", label, "is no segment of this server", "take a name from its list as it stands"
            )
        if state.liveness is Liveness.ALIVE and not force:
            problem = f"has an engine that answers ({state.detail}), and its peers would lose it"
            raise ConfigError("--remove", label, problem, "end the engine first, or add --force")
        chosen += state.segment.entries
    return tuple(chosen)


def remove_entries(report: MetadataReport, entries: Sequence[Entry]) -> tuple[Removal, ...]:
    """Deletes the keys of `entries` from the server of `report`, and says of each what became of it."""
    if not entries:
        return ()
    if report.server.scheme is not Scheme.ETCD:
        return remove_from_http(report.server, entries)
    from .etcd import remove_from_etcd

    answering = [one for one in report.endpoints if one.reach is Reach.ANSWERS]
    best = min(answering, key=lambda one: one.healthy is not True)
    return remove_from_etcd(best.endpoint, entries)
