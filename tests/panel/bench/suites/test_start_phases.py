"""The logs of a start, written out here, become phases that follow one another and add up to the whole."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from pdpanel.panel.bench.suites.start_phases import COMMAND, Moments, phases_of

_MOMENTS = Moments(began=100.0, created=100.5, runner=100.625, returned=104.5, token=104.75)


def _runner() -> list[str]:
    entries = [
        {"t": 100.75, "event": "runner", "run": "r"},
        {"t": 101.0, "event": "spawn", "process": "decode-0"},
        {"t": 101.125, "event": "spawn", "process": "prefill-0"},
        {"t": 103.5, "event": "ready", "process": "decode-0"},
        {"t": 104.0, "event": "ready", "process": "prefill-0"},
        {"t": 104.25, "event": "run", "before": "starting", "after": "ready"},
    ]
    return [json.dumps(entry) for entry in entries]


def _worker(began: float, torch: float, ready: float) -> list[str]:
    entries = [
        (began, {"event": "stage", "stage": "importing"}),
        (torch, {"event": "started", "phase": "import torch", "seconds": torch - began}),
        (ready - 0.25, {"event": "started", "phase": "http", "seconds": 0.5}),
        (ready, {"event": "ready"}),
    ]
    lines = [json.dumps({"t": datetime.fromtimestamp(t, UTC).isoformat(), **entry}) for t, entry in entries]
    return ["WARNING: a library's own line", *lines]


def test_phases_follow_the_worker_that_was_ready_last_and_add_up() -> None:
    logs = {"decode-0": _worker(101.25, 102.0, 103.0), "prefill-0": _worker(101.5, 102.5, 103.75)}
    phases = phases_of(_MOMENTS, _runner(), logs)
    assert phases == {
        COMMAND: 0.5,
        "plan": 0.125,
        "runner's imports": 0.125,
        "spawn": 0.375,
        "worker's interpreter": 0.375,
        "worker: import torch": 1.0,
        "worker: http": 1.0,
        "worker: serve": 0.25,
        "readiness seen": 0.25,
        "router sees both": 0.25,
        "command returns": 0.25,
        "first token": 0.25,
    }
    assert sum(phases.values()) == pytest.approx(_MOMENTS.token - _MOMENTS.began)


def test_a_log_without_an_event_is_no_start() -> None:
    logs = {"decode-0": _worker(101.25, 102.0, 103.0)}
    with pytest.raises(ValueError, match="'run'"):
        phases_of(_MOMENTS, _runner()[:-1], logs)
    with pytest.raises(ValueError, match="'ready'"):
        phases_of(_MOMENTS, _runner(), {"decode-0": logs["decode-0"][:-1]})
    with pytest.raises(ValueError, match="no worker"):
        phases_of(_MOMENTS, _runner(), {})
