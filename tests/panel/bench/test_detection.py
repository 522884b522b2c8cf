from __future__ import annotations

import json

from pdpanel.panel.bench.detection import FailedTry, Kill, detection_seconds, failed_tries

PREFILL = ("127.0.0.1:30000", "127.0.0.1:8998")
DECODE = ("127.0.0.1:30001",)


def line(second: int, worker: str, reason: str, event: str = "attempt failed", seconds: float = 30.0) -> str:
    t = f"2026-11-21T14:00:{second:02d}.000+00:00"
    about = {"worker": worker, "reason": reason, "attempt": "ab-1", "seconds": seconds}
    return json.dumps({"t": t, "level": "info", "event": event, **about})


START = failed_tries([line(0, "", "")])[0].at


def kill(second: float, name: str, addresses: tuple[str, ...]) -> Kill:
    return Kill(START + second, name, "KILL", addresses)


def test_only_failed_tries_are_read() -> None:
    lines = [line(1, "http://127.0.0.1:30000", "gone"), "a traceback", "[]", "{}", line(2, "", "", "worker"), ""]
    assert failed_tries(lines) == [FailedTry(START + 1, START - 29, "http://127.0.0.1:30000 gone ")]


def test_the_last_request_on_the_worker_counts() -> None:
    died = kill(5, "prefill-0", PREFILL)
    tries = failed_tries([
        line(4, "http://127.0.0.1:30000", "before it"),
        line(6, "http://127.0.0.1:30000", "gave no answer"),
        line(8, "http://127.0.0.1:30001", "The prefill worker at 127.0.0.1:8998 went away: silence."),
        line(9, "http://127.0.0.1:30001", "full"),
    ])  # fmt: skip
    assert detection_seconds([died], tries) == {died: 3.0}


def test_a_try_that_was_begun_after_the_kill_was_not_on_the_worker() -> None:
    first, other, again = kill(1, "decode-0", DECODE), kill(3, "prefill-0", PREFILL), kill(20, "decode-0", DECODE)
    tries = failed_tries([
        line(5, "http://127.0.0.1:30001", "x", seconds=4.5),
        line(9, "http://127.0.0.1:30001", "refused", seconds=0.5),
        line(22, "http://127.0.0.1:30001", "x", seconds=3.0),
    ])  # fmt: skip
    assert detection_seconds([first, other, again], tries) == {first: 4.0, other: 0.0, again: 2.0}


def test_where_there_was_nobody_to_try_it_on_there_was_no_try() -> None:
    nobody = json.loads(line(9, "", "No worker is healthy: http://127.0.0.1:30000 is unhealthy.")) | {"attempt": ""}
    assert failed_tries([json.dumps(nobody)]) == []


def test_a_port_is_not_found_within_a_longer_one() -> None:
    died = kill(1, "prefill-0", ("127.0.0.1:3000",))
    assert detection_seconds([died], failed_tries([line(5, "http://127.0.0.1:30001", "x")])) == {died: 0.0}
