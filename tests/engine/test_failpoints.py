from __future__ import annotations

import json
import logging
import subprocess
import sys

import pytest
from pdpanel.engine.config import read_environment
from pdpanel.engine.errors import ConfigError
from pdpanel.engine.failpoints import ACTIONS, NO_FAILPOINTS, POINTS, FailpointError, parse_failpoints

ENDINGS = {"kill": -9, "exit": 3}


def test_nothing_is_armed_without_the_variable() -> None:
    assert read_environment({}).failpoints is NO_FAILPOINTS
    assert not NO_FAILPOINTS.armed
    for point in POINTS:
        NO_FAILPOINTS.hit(point)


def test_a_point_acts_at_every_hit_or_at_the_one_that_is_named() -> None:
    always = parse_failpoints("decode.received=error")
    third = parse_failpoints(" decode.received = error @3 , prefill.received=error@1")
    for _ in range(2):
        third.hit("decode.received")
        with pytest.raises(FailpointError, match=r"decode\.received"):
            always.hit("decode.received")
    third.hit("decode.after_grant")  # not armed
    with pytest.raises(FailpointError):
        third.hit("decode.received")
    third.hit("decode.received")


def test_a_delay_waits_and_goes_on() -> None:
    parse_failpoints("decode.received=delay(1)").hit("decode.received")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("prefill.nowhere=kill", list(POINTS)),
        ("kill", list(POINTS)),
        ("prefill.received=explode", [a for a in ACTIONS if a != "delay"]),
        ("prefill.received", ["kill"]),
        ("prefill.received=delay", ["delay(MILLISECONDS)"]),
        ("prefill.received=delay(soon)", ["milliseconds"]),
        ("prefill.received=delay(-1)", ["milliseconds"]),
        ("prefill.received=kill@0", ["which hit"]),
        ("prefill.received=kill@", ["which hit"]),
        ("prefill.received=kill@first", ["which hit"]),
        ("prefill.received=kill,prefill.received=stop", ["twice"]),
    ],
)
def test_what_cannot_be_armed_is_said_with_what_can(text: str, named: list[str]) -> None:
    with pytest.raises(ConfigError) as told:
        read_environment({"PDPANEL_FAILPOINTS": text})
    assert all(word in str(told.value) for word in ["PDPANEL_FAILPOINTS", *named])


def test_what_is_armed_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "pdpanel"):
        parse_failpoints("prefill.after_grant=kill@2").announce()
    (line,) = caplog.records
    assert (line.levelname, line.getMessage()) == ("WARNING", "failpoint_armed")
    assert json.dumps(line.__dict__["fields"]) == '{"point": "prefill.after_grant", "action": "kill", "nth": 2}'


@pytest.mark.parametrize("action", ENDINGS)
def test_a_process_dies_as_the_action_says(action: str) -> None:
    code = (
        "from pdpanel.engine.failpoints import parse_failpoints as parse;"
        f"parse('decode.received={action}').hit('decode.received'); print('alive')"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert (ended.returncode, ended.stdout) == (ENDINGS[action], "")


@pytest.mark.parametrize(("text", "expected"), [("", False), ("0", False), ("1", True), ("true", True)])
def test_check_mode_is_off_unless_asked_for(text: str, expected: bool) -> None:
    assert read_environment({"PDPANEL_CHECK_PAGES": text}).check_pages is expected
