from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.panel.runner.stage import Stage, stage_of_health, stage_of_line
from pdpanel.panel.runner.stage_log import StageLog

LOADING, WARMING, REGISTERED, IMPORTING = "loading weights", "warming up", "registered", "importing"


@pytest.mark.parametrize(
    ("line", "stage"),
    [
        ('{"event": "stage", "stage": "importing"}', Stage(IMPORTING)),
        ('{"event": "stage", "stage": "<b>anything</b>"}', None),
        ('{"t": "x", "level": "info", "event": "started", "phase": "import torch", "seconds": 1.0}', Stage(IMPORTING)),
        ('{"event": "started", "phase": "import engine"}', Stage(LOADING)),
        ('{"event": "progress", "stage": "convert", "done": 30, "total": 120}', Stage(LOADING, 0.25)),
        ('{"event": "progress", "stage": "download", "done": 30, "total": 0}', Stage(LOADING)),
        ('{"event": "started", "phase": "weights"}', Stage(WARMING)),
        ('{"event": "ready", "address": "127.0.0.1:1"}', Stage(REGISTERED)),
        ('{"event": "request"}', None),
        ('{"event": ["ready"]}', None),
        ("{", None),
        ("Loading safetensors checkpoint shards:   0% Completed | 0/5 [00:00<?, ?it/s]", Stage(LOADING, 0.0)),
        ("Loading safetensors checkpoint shards:  40% Completed | 2/5 [00:01<00:02]", Stage(LOADING, 0.4)),
        ("Multi-thread loading shards:  75% Completed | 3/4", Stage(LOADING, 0.75)),
        ("Loading pt checkpoint shards: 100% Completed | 1/1", Stage(LOADING, 1.0)),
        ("[2025-09-01 10:00:00 TP0] Load weight begin. avail mem=78.50 GB", Stage(LOADING)),
        ("[2025-09-01 10:00:00] server_args=ServerArgs(model_path='x')", Stage(IMPORTING)),
        ("[2025-09-01 10:00:00 TP0] Capture cuda graph begin. This can take up to several minutes.", Stage(WARMING)),
        ("INFO 09-01 10:00:00 [gpu_model_runner.py:2338] Starting to load model m...", Stage(LOADING)),
        ("INFO 09-01 10:00:00 [kv_cache_utils.py:864] GPU KV cache size: 1,000 tokens", Stage(WARMING)),
        ("INFO:     Application startup complete.", Stage(REGISTERED)),
        ("[2025-09-01 10:00:00] The server is fired up and ready to roll!", Stage(REGISTERED)),
        ("some line", None),
        ("", None),
    ],
)
def test_lines_of_engines(line: str, stage: Stage | None) -> None:
    assert stage_of_line(line) == stage


@pytest.mark.parametrize(
    ("body", "stage"),
    [
        (b'{"stage": "loading weights", "progress": 0.5}', Stage(LOADING, 0.5)),
        (b'{"stage": "loading weights", "progress": 7}', Stage(LOADING)),
        (b'{"stage": "loading weights", "progress": true}', Stage(LOADING)),
        (b'{"error": {"message": "waiting for workers"}}', Stage("waiting for workers")),
        (b'{"detail": "starting"}', Stage("starting")),
        (b"\x1b[31mnot yet", Stage("not yet")),
        (b"", Stage("answers with status 503")),
        (b"[]", Stage("answers with status 503")),
        (b'{"stage": 5}', Stage("answers with status 503")),
    ],
)
def test_health_answers(body: bytes, stage: Stage) -> None:
    assert stage_of_health(503, body) == stage


@given(st.text())
def test_no_line_breaks_it(line: str) -> None:
    stage = stage_of_line(line)
    assert stage is None or stage.progress is None or 0 <= stage.progress <= 1
    stage_of_line("{" + line)


@given(st.binary())
def test_no_answer_breaks_it(body: bytes) -> None:
    stage = stage_of_health(503, body)
    assert "\n" not in stage.text and "\x1b" not in stage.text


def test_a_log_is_followed_from_where_this_life_begins(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = StageLog(path, 0)
    assert log.look() is None, "no file yet"
    path.write_bytes(b"INFO:     Application startup complete.\n")
    before = path.stat().st_size
    assert StageLog(path, before).look() is None, "that was an earlier life"
    log = StageLog(path, before)
    with path.open("ab") as file:
        file.write(b"Loading safetensors checkpoint shards:   0% Completed\r")
        file.write(b"Loading safetensors checkpoint shards:  50% Completed\rnext\n\xff\xfe\n")
    assert log.look() == Stage(LOADING, 0.5)
    assert log.look() == Stage(LOADING, 0.5), "nothing new"
    path.write_bytes(b"x" * 10 + b"\nLoad weight begin\n")
    assert log.look() == Stage(LOADING), "it was cut, and is read anew"


def test_of_much_that_is_logged_at_once_the_end_counts(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"INFO:     Application startup complete.\n" + b"x" * 200_000 + b"\nLoad weight begin\n")
    assert StageLog(path, 0).look() == Stage(LOADING)
    path.write_bytes(b"Load weight begin\n" + b"x" * 200_000)
    assert StageLog(path, 0).look() is None
