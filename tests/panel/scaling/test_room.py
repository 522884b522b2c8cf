"""What speaks against more workers, and how a difference reads."""

from __future__ import annotations

import pytest
from pdpanel.panel.deployment import parse_deployment
from pdpanel.panel.host_facts import HostFacts
from pdpanel.panel.launch import Role
from pdpanel.panel.plan import RunIds, plan
from pdpanel.panel.scaling.as_json import room_sentences
from pdpanel.panel.scaling.difference import PlanDifference, compare
from pdpanel.panel.scaling.replan import replanned
from pdpanel.panel.scaling.room import Room, findings_of, room_of
from pdpanel.panel.scaling.scaled import scaled
from pdpanel.panel.scaling.text import lines_of

HOST, IDS = HostFacts("here", 8, "python3"), RunIds("r", "/r", "/c")


def difference(prefill: int, decode: int) -> PlanDifference:
    deployment = parse_deployment({"model": "m", "prefill": {"count": 1}, "decode": {"count": 2}})
    old = plan(deployment, HOST, IDS)
    wanted = scaled(deployment, {Role.PREFILL: prefill, Role.DECODE: decode})
    return compare(old, replanned(old, wanted, HOST, IDS))


def test_needed_memory_is_what_fellows_take_less_what_is_given_back() -> None:
    used = {Role.PREFILL: 5, Role.DECODE: 3}
    assert room_of(difference(2, 1), 3, used, 8, 100).needed_bytes == 2
    assert room_of(difference(2, 2), 4, {Role.DECODE: 3}, 8, 100).needed_bytes is None


@pytest.mark.parametrize(
    ("room", "on_cpu", "ids"),
    [
        (Room(8, 3, 10, 10), True, []),
        (Room(8, 3, 10, 11), True, ["scale-memory-short"]),
        (Room(2, 3, None, 11), True, ["scale-cores-shared"]),
        (Room(2, 3, None, None), False, []),
        (Room(0, 3, 10, None), True, []),
    ],
)
def test_what_speaks_against_it(room: Room, on_cpu: bool, ids: list[str]) -> None:
    assert [finding.id for finding in findings_of(room, on_cpu=on_cpu)] == ids


def test_room_is_told_in_sentences() -> None:
    assert list(room_sentences(Room(8, 3, 2_000_000_000, -500_000_000, ("4",)))) == [
        "3 workers on 8 cores.",
        "It gives back about 0.5 GB of memory; 2.0 GB are available.",
        "New workers get GPU 4.",
    ]


def test_a_difference_reads_as_lines_with_signs() -> None:
    lines = list(lines_of(difference(2, 1)))
    assert lines[0] == ("-", "decode-1 ends: port 30002 (http)")
    assert lines[1][1].startswith("prefill-1 is started: port ")
    assert ("~", "router goes on: It is told of the workers while it runs.") in lines
    assert ("-", "    --decode http://127.0.0.1:30002") in lines
    assert lines[-1] == (" ", "decode-0, prefill-0 stay as they are")
