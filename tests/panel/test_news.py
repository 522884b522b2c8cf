"""A record that is replaced is news at once; one that is not, and one that is missing, is waited for to the end."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from pdpanel.panel.news import News
from pdpanel.panel.rundir import RunDir

_LONG_S = 60.0


def test_the_first_look_and_every_other_record_are_news(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.write(run.state, b"1")
    news = News(run.state)
    began = time.monotonic()
    news.wait(_LONG_S)
    run.write(run.state, b"2")
    news.wait(_LONG_S)
    run.state.unlink()
    news.wait(_LONG_S)
    assert time.monotonic() - began < _LONG_S


def test_a_record_that_comes_while_one_waits_ends_the_wait(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.write(run.state, b"1")
    news = News(run.state)
    news.wait(_LONG_S)
    waiting = threading.Event()

    def write() -> None:
        waiting.wait()
        run.write(run.state, b"2")

    writer = threading.Thread(target=write)
    writer.start()
    began = time.monotonic()
    waiting.set()
    news.wait(_LONG_S)
    assert time.monotonic() - began < _LONG_S
    writer.join()


def test_without_news_the_wait_ends(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.write(run.state, b"1")
    news = News(run.state)
    news.wait(_LONG_S)
    began = time.monotonic()
    news.wait(0.05)
    assert time.monotonic() - began >= 0.05
