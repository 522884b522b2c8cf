from __future__ import annotations

import pytest
from pdpanel.panel.logs.level import Level, Telling, level_of

SHAPES = {
    "glog error": ("E1121 05:05:38.069805 12345 transfer.cpp:12] failed", Level.ERROR),
    "glog with year": ("W20261121 05:05:38.069805 12345 a.cpp:1] odd", Level.WARNING),
    "glog info": ("I1121 05:05:38.069805 12345 a.cpp:1] error rate is 0", Level.INFO),
    "python": ("2026-11-21 05:05:38,069 - sglang.srt - WARNING - slow", Level.WARNING),
    "python basic": ("ERROR:root:it failed", Level.ERROR),
    "python with name": ("2026-11-21 05:05:38,069 my.module ERROR it failed", Level.ERROR),
    "brackets": ("[2026-11-21 05:05:38] [ERROR] it failed", Level.ERROR),
    "uvicorn": ('INFO:     127.0.0.1:5000 - "GET /error HTTP/1.1" 200 OK', Level.INFO),
    "vllm": ("(EngineCore pid=12) ERROR 11-21 05:05:38 [core.py:12] EngineCore failed", Level.ERROR),
    "vllm info": ("INFO 11-21 05:05:38 [api_server.py:12] started", Level.INFO),
    "sglang": ("[2026-11-21 05:05:38 TP0] Prefill batch, #new-seq: 1", Level.INFO),
    "rust tracing": ("2026-11-21T05:05:38.123456Z  WARN smg::worker: retry", Level.WARNING),
    "rust with file": ("2026-11-21T05:05:38.123456Z ERROR smg::worker: src/a.rs:12: gone", Level.ERROR),
    "json": ('{"t": "2026-11-21T16:05:40.963+00:00", "level": "error", "event": "x"}', Level.ERROR),
    "json severity": ('{"severity":"WARNING","message":"ERROR in text"}', Level.WARNING),
    "json without": ('{"event": "ERROR"}', Level.NONE),
    "compose": ("router-1  | 2026-11-21T05:05:38Z DEBUG a: b", Level.DEBUG),
    "last line of a traceback": ("torch.cuda.OutOfMemoryError: CUDA out of memory", Level.ERROR),
    "inside of a traceback": ('  File "/a/error.py", line 3, in run', Level.NONE),
    "prose": ("the information was in the warning letter", Level.NONE),
}


@pytest.mark.parametrize(("line", "level"), SHAPES.values(), ids=SHAPES.keys())
def test_a_line_says_its_level(line: str, level: Level) -> None:
    assert level_of(line) is level


@pytest.mark.parametrize(("line", "level"), SHAPES.values(), ids=SHAPES.keys())
def test_the_quick_look_misses_no_warning(line: str, level: Level) -> None:
    assert Telling(line.encode()).after(0) >= 0 or level < Level.WARNING
