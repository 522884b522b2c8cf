"""docs/life-cycle.md: the state machines of workers and router, drawn from their tables. Pure and deterministic."""

from __future__ import annotations

from enum import Enum
from typing import Any

from .lifecycle import DECODE, PREFILL, UNIFIED, LifeCycle
from .router.life_cycle import REQUEST

__all__ = ["CYCLES", "render_life_cycles"]

_INTRODUCTION = """\
# Life cycles

How a request lives on each kind of worker and in the router. This page is generated from the tables that the code \
runs on (`engine/lifecycle.py`, `engine/router/life_cycle.py`), so it cannot be out of date.

Each pair of a state and an event is one of three things: a move to the named state; *stale*, when a slow network or a \
race can produce it, which is ignored and counted (`pdpanel_stale_messages_total`); or `-`, which only a bug of ours \
could produce and which ends the worker with a reason. What a peer or a client sends is never of the third kind.
"""

CYCLES: dict[str, tuple[LifeCycle[Any, Any], str]] = {
    "Prefill worker": (
        PREFILL,
        "Decode grants pages first, so that a full decode worker costs no work here. Finished pages travel while the "
        "next chunk is computed. In DRAINING the client has its answer already; only the pages wait.",
    ),
    "Decode worker": (
        DECODE,
        "A room that is given up while prefill may write keeps its pages in quarantine (FENCING) until prefill says "
        "that it is done with them (DRAINED), another process answers at its address (REPLACED), or a timer runs out "
        "(EXPIRED): the transport's hard timeout after prefill's process is known to be gone, else after the lease.",
    ),
    "Unified worker": (UNIFIED, "Prompt and output on one worker, no transfer."),
    "Router": (
        REQUEST,
        "One client's request over all its tries; each try is a fresh room on a pair of workers.",
    ),
}  # fmt: skip


def render_life_cycles(cycles: dict[str, tuple[LifeCycle[Any, Any], str]] = CYCLES) -> str:
    """Returns the page as Markdown, ending in a newline."""
    lines = [_INTRODUCTION]
    for title, (cycle, text) in cycles.items():
        lines += [f"## {title}", "", text, "", *_diagram(cycle), "", *_table(cycle), ""]
        lines += [*_words("State", _ordered(cycle.states)), *_words("Event", _ordered(cycle.events))]
    return "\n".join(lines).rstrip("\n") + "\n"


def _ordered(members: frozenset[Any]) -> list[Enum]:
    """Returns the members in the order of their enum's definition."""
    kind: type[Enum] = type(next(iter(members)))
    return [member for member in kind if member in members]


def _diagram(cycle: LifeCycle[Any, Any]) -> list[str]:
    arrows: dict[tuple[Enum, Enum], list[str]] = {}
    for state in _ordered(cycle.states):
        for event in _ordered(cycle.events):
            if (target := cycle.moves.get((state, event))) is not None:
                arrows.setdefault((state, target), []).append(event.name)
    ends = [state for state in _ordered(cycle.states) if not any(source is state for source, _ in arrows)]
    return [
        "```mermaid",
        "stateDiagram-v2",
        f"    [*] --> {cycle.start.name}",
        *(f"    {source.name} --> {target.name} : {', '.join(names)}" for (source, target), names in arrows.items()),
        *(f"    {state.name} --> [*]" for state in ends),
        "```",
    ]


def _table(cycle: LifeCycle[Any, Any]) -> list[str]:
    states, events = _ordered(cycle.states), _ordered(cycle.events)
    rows = [["", *(state.name for state in states)], ["---"] * (len(states) + 1)]
    rows += [[event.name, *(_cell(cycle, state, event) for state in states)] for event in events]
    return [f"| {' | '.join(row)} |" for row in rows]


def _cell(cycle: LifeCycle[Any, Any], state: Enum, event: Enum) -> str:
    if (target := cycle.moves.get((state, event))) is not None:
        return target.name
    return "*stale*" if (state, event) in cycle.stale else "-"


def _words(kind: str, members: list[Enum]) -> list[str]:
    """Returns what each member means, where its value says so."""
    meanings = [f"| {member.name} | {member.value} |" for member in members if isinstance(member.value, str)]
    return [f"| {kind} | |", "| --- | --- |", *meanings, ""] if meanings else []


if __name__ == "__main__":
    print(render_life_cycles(), end="")
