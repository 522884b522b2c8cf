"""What changed between two looks at the runs or at the host's links, as small values.

Pure. A run whose list of processes is the same travels as the fields that changed, since CPU and memory of every
process change with each look. Called by `hub`; `static/store.js` puts the differences together again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .number_text import rounded
from .port import HostTraffic, LinkTraffic, ProcessView, RunView

__all__ = ["RunChanges", "link_changes", "plain_link", "plain_run", "run_changes"]

RunChanges = dict[str, list[Any]]
# Significant digits of figures that change all the time.
_DIGITS = {"cpu_percent": 3, "rss_bytes": 4}


def _plain_process(process: ProcessView) -> dict[str, Any]:
    fields = {name: getattr(process, name) for name in ProcessView.__dataclass_fields__}
    for name, digits in _DIGITS.items():
        fields[name] = rounded(fields[name], digits)
    return fields


def plain_run(view: RunView) -> dict[str, Any]:
    """Returns `view` as plain values, figures that change all the time with few digits."""
    fields = {name: getattr(view, name) for name in RunView.__dataclass_fields__ if name != "processes"}
    return {**fields, "processes": [_plain_process(process) for process in view.processes]}


def _fields(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in now.items() if before.get(name) != value or name not in before}


def _patch(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns what turns `before` into `now`; None when the processes are others."""
    old, new = before["processes"], now["processes"]
    if [one["name"] for one in old] != [one["name"] for one in new]:
        return None
    changed = [[place, fields] for place, one in enumerate(new) if (fields := _fields(old[place], one))]
    fields = {name: value for name, value in _fields(before, now).items() if name != "processes"}
    return {"id": now["id"], "set": fields, "processes": changed}


def run_changes(before: Mapping[str, Mapping[str, Any]], now: Mapping[str, Mapping[str, Any]]) -> RunChanges:
    """Returns what changed between two looks, both as `plain_run` values by id.

    Returns:
        `runs`: new ones as a whole; `patches`: {id, set: fields, processes: [[place, fields], ...]}; `gone`: ids.
    """
    found: RunChanges = {"runs": [], "patches": [], "gone": [run_id for run_id in before if run_id not in now]}
    for run_id, run in now.items():
        old = before.get(run_id)
        if old is run or old == run:
            continue
        patch = None if old is None else _patch(old, run)
        found["runs" if patch is None else "patches"].append(run if patch is None else patch)
    return found


def plain_link(link: LinkTraffic) -> list[Any]:
    """Returns [sent, received, source, reason] of a link."""
    return [rounded(link.tx_bytes_per_s), rounded(link.rx_bytes_per_s), link.source, link.reason]


def link_changes(
    before: Mapping[str, Sequence[Any]], now: HostTraffic
) -> tuple[dict[str, list[Any]], dict[str, list[Any]], list[str]]:
    """Returns all links as `plain_link` values, those that changed, and the names of those that are gone.

    Of a link whose source and reason are the same only [sent, received] is told.
    """
    links = {key: plain_link(link) for key, link in now.links.items()}
    changed: dict[str, list[Any]] = {}
    for key, link in links.items():
        old = before.get(key)
        if old != link:
            changed[key] = link[:2] if old is not None and old[2:] == link[2:] else link
    return links, changed, [key for key in before if key not in links]
