from __future__ import annotations

from typing import Any

import pytest
from pdpanel.nic_probe import Finding, Severity
from pdpanel.nic_probe.reading import Reading
from pdpanel.panel.metadata.address import Endpoint, parse_metadata_server
from pdpanel.panel.metadata.builds import MooncakeBuild
from pdpanel.panel.metadata.findings import judge_address, judge_build, judge_hosts, judge_report, segment_name
from pdpanel.panel.metadata.rules import RULES
from pdpanel.panel.metadata.segment import Entry, Segment
from pdpanel.panel.metadata.state import EndpointState, Liveness, MetadataReport, Reach, SegmentState

ETCD = parse_metadata_server("etcd://10.0.0.1:2379")
HTTP = parse_metadata_server("http://10.0.0.1:8080/metadata")
UP = EndpointState(Endpoint("10.0.0.1", 2379), Reach.ANSWERS, "answers", "3.5.0", True)
DOWN = EndpointState(Endpoint("10.0.0.2", 2379), Reach.UNREACHABLE, "refuses connections")


def ids(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.id, str(finding.severity)) for finding in findings]


def segment(label: str = "a:1", host: str = "10.0.0.1", port: int = 15000, **changes: Any) -> Segment:
    entries = (Entry(f"mooncake/ram/{label}", b"{}"), Entry(f"mooncake/rpc_meta/{label}", b"{}"))
    return Segment(label, entries, "tcp", host=host, rpc_port=port, **changes)


def report(*states: SegmentState, server: Any = ETCD, **changes: Any) -> MetadataReport:
    fields: dict[str, Any] = {"endpoints": (UP,), "segments": Reading(states, "etcd"), **changes}
    return MetadataReport(server, **fields)


def test_rules_have_ids_of_their_own_and_say_something() -> None:
    assert len({rule.id for rule in RULES}) == len(RULES)
    assert all(rule.id.startswith("metadata-") and rule.title and rule.explanation.endswith(".") for rule in RULES)


def test_a_good_address_has_no_finding() -> None:
    assert judge_address("10.0.0.1:2379") == []


def test_a_wrong_address_is_an_error_with_the_right_one() -> None:
    (finding,) = judge_address("etcd://10.0.0.1", "mooncake.json")
    assert (finding.id, finding.severity, finding.subject) == ("metadata-address", Severity.ERROR, "mooncake.json")
    assert finding.corrected == "etcd://10.0.0.1:2379"
    assert finding.evidence[0].value == "etcd://10.0.0.1"
    assert finding.reason.startswith("Lacks a port")


def test_an_unknown_kind_of_server_has_a_rule_of_its_own() -> None:
    (finding,) = judge_address("zookeeper://10.0.0.1:2181")
    assert finding.id == "metadata-unknown-scheme"
    assert "aborts" in finding.reason


def test_redis_aborts_every_wheel() -> None:
    redis = parse_metadata_server("redis://10.0.0.1:6379")
    build = MooncakeBuild("mooncake-transfer-engine", "0.3.13", "x86_64")
    assert ids(judge_build(redis, build)) == [("metadata-unsupported-by-build", "error")]
    assert ids(judge_build(redis, None)) == [("metadata-unsupported-by-build", "warning")]
    assert "USE_REDIS" in judge_build(redis, build)[0].reason


def test_etcd_is_judged_by_the_build() -> None:
    arm = MooncakeBuild("mooncake-transfer-engine", "0.3.13", "aarch64")
    (finding,) = judge_build(ETCD, arm)
    assert "without etcd" in finding.reason and "-DUSE_ETCD=ON" in finding.remedy
    assert judge_build(ETCD, MooncakeBuild("mooncake-transfer-engine", "0.3.13", "x86_64")) == []
    assert judge_build(HTTP, arm) == judge_build(ETCD, None) == []


@pytest.mark.parametrize(
    ("text", "hosts", "wrong"),
    [
        ("etcd://127.0.0.1:2379", ["10.0.0.1", "10.0.0.2"], True),
        ("http://localhost:8080/metadata", ["127.0.0.1", "10.0.0.2"], True),
        ("etcd://127.0.0.1:2379", ["10.0.0.1", "10.0.0.1"], False),
        ("etcd://127.0.0.1:2379", ["127.0.0.1", "localhost"], False),
        ("etcd://10.0.0.1:2379", ["10.0.0.1", "10.0.0.2"], False),
        ("P2PHANDSHAKE", ["10.0.0.1", "10.0.0.2"], False),
    ],
)
def test_loopback_is_wrong_for_several_hosts(text: str, hosts: list[str], wrong: bool) -> None:
    found = judge_hosts(parse_metadata_server(text), hosts)
    assert ids(found) == ([("metadata-loopback", "error")] if wrong else [])


def test_a_server_that_is_well_has_no_finding() -> None:
    assert judge_report(report(SegmentState(segment(), Liveness.ALIVE, "answers"))) == []


def test_one_endpoint_of_a_cluster_may_be_down() -> None:
    assert ids(judge_report(report(endpoints=(UP, DOWN)))) == [("metadata-unreachable", "warning")]
    assert ids(judge_report(report(endpoints=(DOWN,)))) == [("metadata-unreachable", "error")]


def test_something_else_at_the_port_is_an_error() -> None:
    foreign = EndpointState(Endpoint("10.0.0.1", 2379), Reach.FOREIGN, "answers, but not as etcd does")
    (finding,) = judge_report(report(endpoints=(foreign,)))
    assert (finding.id, finding.subject) == ("metadata-wrong-service", "etcd://10.0.0.1:2379")


def test_an_unhealthy_server_is_an_error() -> None:
    ill = EndpointState(UP.endpoint, Reach.ANSWERS, "answers, and says that it is not healthy", healthy=False)
    assert ids(judge_report(report(endpoints=(ill,)))) == [("metadata-unhealthy", "error")]


@pytest.mark.parametrize(
    ("server", "remedy"),
    [
        (ETCD, "etcd --listen-client-urls http://0.0.0.0:2379 --advertise-client-urls http://10.0.0.1:2379"),
        (HTTP, "python3 -m mooncake.http_metadata_server --host 0.0.0.0 --port 2379"),
    ],
)
def test_a_server_on_loopback_alone_is_told_how_to_listen(server: Any, remedy: str) -> None:
    hidden = EndpointState(UP.endpoint, Reach.UNREACHABLE, "refuses connections", on_loopback=True)
    (finding,) = judge_report(report(server=server, endpoints=(hidden,)))
    assert (finding.id, finding.remedy) == ("metadata-loopback", remedy)


def test_a_segment_without_its_engine_is_stale_and_named_for_removal() -> None:
    (finding,) = judge_report(report(SegmentState(segment("my node:1"), Liveness.GONE, "refuses connections")))
    assert (finding.id, finding.severity) == ("metadata-stale-segment", Severity.WARNING)
    assert finding.remedy == "pdpanel metadata etcd://10.0.0.1:2379 --remove 'my node:1'"


def test_a_name_like_an_option_is_removed_as_a_name() -> None:
    (finding,) = judge_report(report(SegmentState(segment("--force"), Liveness.GONE, "")))
    assert finding.remedy.endswith(" --remove=--force")


def test_a_name_that_a_terminal_does_not_show_is_not_written_into_a_command() -> None:
    (finding,) = judge_report(report(SegmentState(segment("a\x1b[2J\u202e"), Liveness.GONE, "")))
    assert "--json" in finding.remedy
    assert segment_name("\ud800") == "" and segment_name("$(reboot)") == "'$(reboot)'"


def test_an_http_server_refuses_a_restart_under_a_stale_name() -> None:
    (finding,) = judge_report(report(SegmentState(segment(), Liveness.GONE, ""), server=HTTP, lists=False))
    assert "refuses an engine of the same name" in finding.reason


def test_of_two_segments_with_one_port_the_older_is_stale() -> None:
    old = segment("old", timestamp="2026-01-01 00:00:00")
    new = segment("new", timestamp="2026-01-02 00:00:00")
    other = segment("other", port=15001, timestamp="2025-01-01 00:00:00")
    states = [SegmentState(one, Liveness.ALIVE, "answers") for one in (old, new, other)]
    (finding,) = judge_report(report(*states))
    assert (finding.id, finding.subject) == ("metadata-stale-segment", "old")


def test_a_segment_whose_engine_cannot_be_asked_is_not_called_stale() -> None:
    assert judge_report(report(SegmentState(segment(), Liveness.UNKNOWN, "did not answer"))) == []


def test_loopback_segments_on_a_server_for_many_hosts() -> None:
    inside = SegmentState(segment("in", "127.0.0.1"), Liveness.UNKNOWN, "")
    outside = SegmentState(segment("out", "10.0.0.2"), Liveness.ALIVE, "")
    local = parse_metadata_server("etcd://127.0.0.1:2379")
    assert ids(judge_report(report(inside))) == [("metadata-segment-loopback", "warning")]
    assert ids(judge_report(report(inside, outside, server=local))) == [("metadata-segment-loopback", "warning")]
    assert judge_report(report(inside, server=local)) == []


def test_garbage_is_a_finding_with_every_problem() -> None:
    (finding,) = judge_report(report(SegmentState(segment(problems=("a", "b")), Liveness.ALIVE, "")))
    assert (finding.id, [one.value for one in finding.evidence]) == ("metadata-unreadable-entry", ["a", "b"])


def test_what_cannot_be_listed_is_unknown_and_not_empty() -> None:
    denied = report(segments=Reading.unreadable("etcd", "refuses: no user"))
    part = report(segments=Reading((), "etcd", "has more entries"))
    assert ids(judge_report(denied)) == ids(judge_report(part)) == [("metadata-not-listed", "unknown")]
    assert judge_report(denied)[0].reason != judge_report(part)[0].reason


def test_an_http_server_that_was_not_asked_for_names_says_how() -> None:
    (finding,) = judge_report(report(server=HTTP, lists=False))
    assert (finding.id, finding.severity) == ("metadata-not-listed", Severity.INFO)
    assert "--segment" in finding.remedy


def test_a_name_that_is_not_registered_is_a_warning() -> None:
    assert ids(judge_report(report(server=HTTP, lists=False, missing=("b:1",)))) == [
        ("metadata-segment-missing", "warning")
    ]
