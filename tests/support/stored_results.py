"""A file of results as `pdpanel bench SUITE -o` writes it: one figure misses its goal, one meets it, one has none."""

from __future__ import annotations

import json
from pathlib import Path

from pdpanel.panel.bench.comparison import Comparison, Goal

MACHINE = {
    "cpu": "made up",
    "cores": 2,
    "isa": ["avx2"],
    "memory_gib": 8.0,
    "busy": 0.0,
    "system": "Linux 6",
    "python": "3.12.1",
    "torch": "2.9",
    "pdpanel": "0.1.0",
    "peers": {"transformers": "5.0"},
}
FIGURES = (
    Comparison(
        "batch=1,context=128", "decode", "tokens/s", [30, 40, 20], "peer, 2 threads", [10, 10], Goal(at_least=4)
    ),
    Comparison("text=64", "kl", "nats", [0.002], goal=Goal(at_most=0.005), note="a note"),
    Comparison("open=8", "rss", "MB", [3.0]),
)


def write_results(path: Path, *, short: bool = False) -> Path:
    lines = [
        {"suite": "engine", "machine": MACHINE, "options": {"short": short, "rounds": 3}},
        *(figure.line("engine") for figure in FIGURES),
        {"suite": "engine", "figures": 3, "goals_met": 1, "goals_missed": 1},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path
