from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.panel.doctor.log_line import line_parts, looks_like_error, time_of


@pytest.mark.parametrize(
    ("line", "time"),
    [
        ("E1212 12:06:27.214640   865 rdma_context.cpp:205] x", "1212 12:06:27.214640"),
        ("E20260530 21:16:47.670934 1121218 tcp_transport.cpp:175] x", "20260530 21:16:47.670934"),
        ("[2025-07-08 06:14:34 TP0] Prefill batch", "2025-07-08 06:14:34"),
        ("(APIServer pid=302) INFO 08-28 04:24:00 [utils.py:326] x", "08-28 04:24:00"),
        ('{"t": "2026-11-21T05:56:13.950+00:00", "level": "info"}', "2026-11-21T05:56:13.950+00:00"),
        ("2025-10-29 21:49:19 ERROR http_request", "2025-10-29 21:49:19"),
        ("[12345.678901] NVRM: Xid", "12345.678901"),
        ("no time here", ""),
        ("x" * 200 + "2025-07-08 06:14:34", ""),
    ],
)
def test_the_time_is_taken_as_it_is_written(line: str, time: str) -> None:
    assert time_of(line) == time


@pytest.mark.parametrize(
    "line",
    [
        "E1212 12:06:27.214640   865 rdma_context.cpp:205] something new",
        "F1212 12:06:27.214640   865 x.cpp:1] fatal",
        "(EngineCore_DP0 pid=9) ERROR 01-01 00:00:00 [core.py:700] something",
        "2025-10-29 21:49:19 ERROR http_request: something",
        '{"t": "x", "level": "error", "logger": "a", "message": "b"}',
        "ValueError: something",
        "(EngineCore pid=199) RuntimeError: something",
        "torch.distributed.DistBackendError: something",
        "error: something",
        "[rank0]: AssertionError",
    ],
)
def test_errors_look_like_errors(line: str) -> None:
    assert looks_like_error(line)


@pytest.mark.parametrize(
    "line",
    [
        "E1121 05:05:38.070067  6468 transfer_metadata.cpp:1098] Local segment descriptor not found",
        "WARNING: Logging before InitGoogleLogging() is written to STDERR",
        "INFO 01-01 00:00:00 [x.py:1] no errors so far",
        "    raise ValueError(x)",
        "I1121 05:05:38.07 6468 x.cpp:1] ok",
        "retry on ConnectionError is on",
        '{"level": "info", "event": "ready"}',
        "",
    ],
)
def test_other_lines_do_not(line: str) -> None:
    assert not looks_like_error(line)


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("a\n", ["a"]),
        (b"a\r\n", ["a"]),
        ("a\rb\rc", ["a", "b", "c"]),
        ("\x1b[1;31mred\x1b[0m", ["red"]),
        ("\x1b]0;title\x07text", ["text"]),
        ("a\u202eb\u2066c", ["abc"]),
        (b"\xff\xfea", ["\ufffd\ufffda"]),
        ("", []),
        ("\x1b[31m", []),
    ],
)
def test_lines_are_cleaned(line: str | bytes, parts: list[str]) -> None:
    assert line_parts(line) == parts


@given(st.text() | st.binary())
def test_no_control_character_survives(line: str | bytes) -> None:
    for part in line_parts(line):
        assert not any(ord(char) < 32 and char != "\t" for char in part)
        assert "\x7f" not in part
        looks_like_error(part)
        time_of(part)
