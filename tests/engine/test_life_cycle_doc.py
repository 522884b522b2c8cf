"""docs/life-cycle.md is made from the tables; this keeps it in step."""

from __future__ import annotations

from pathlib import Path

from pdpanel.engine.life_cycle_doc import CYCLES, render_life_cycles

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "life-cycle.md"


def test_the_document_is_what_the_tables_say() -> None:
    assert DOCUMENT.read_text("utf-8") == render_life_cycles(), "make docs/life-cycle.md"


def test_every_move_is_drawn_and_every_pair_has_a_cell() -> None:
    for title, (cycle, text) in CYCLES.items():
        page = render_life_cycles({title: (cycle, text)})
        for (state, event), target in cycle.moves.items():
            arrow = next(line for line in page.splitlines() if f"    {state.name} --> {target.name} :" in line)
            assert event.name in arrow.partition(" : ")[2].split(", ")
        rows = [line for line in page.splitlines() if line.startswith("|") and line.count("|") == len(cycle.states) + 2]
        assert len(rows) == len(cycle.events) + 2
        assert sum(line.count("*stale*") for line in rows) == len(cycle.stale)
