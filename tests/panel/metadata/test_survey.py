"""Real engines that register with real servers, and what a survey makes of them."""

from __future__ import annotations

import signal
import socket

import pytest
from metadata_servers import RealEtcd, RealHttp, Rough, Started
from pd_http import free_port
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.metadata.address import parse_metadata_server
from pdpanel.panel.metadata.findings import judge_report
from pdpanel.panel.metadata.liveness import look_for_engines
from pdpanel.panel.metadata.removal import chosen_entries, remove_entries
from pdpanel.panel.metadata.segment import Entry, Segment
from pdpanel.panel.metadata.state import Liveness, MetadataReport, Reach
from pdpanel.panel.metadata.survey import survey


def ids(report: MetadataReport) -> list[str]:
    return [finding.id for finding in judge_report(report)]


def test_an_engine_in_etcd_from_its_start_to_its_removal(etcd: RealEtcd, started: Started) -> None:
    pytest.importorskip("mooncake", reason="Mooncake is not installed")
    server = parse_metadata_server(etcd.url)
    code, port, process = started.engine("node-a:17001", etcd.url)
    assert code == 0
    report = survey(server)
    (state,) = report.segments.otherwise(())
    assert (state.segment.label, state.segment.protocol, state.segment.rpc_port) == ("node-a:17001", "tcp", port)
    assert [buffer.length for buffer in state.segment.buffers] == [1 << 20]
    assert state.liveness is Liveness.ALIVE
    assert ids(report) == []
    with pytest.raises(ConfigError, match="an engine that answers"):
        chosen_entries(report, ["node-a:17001"])

    process.send_signal(signal.SIGKILL)
    process.wait(10)
    report = survey(server)
    assert ids(report) == ["metadata-stale-segment"]
    entries = chosen_entries(report, ["node-a:17001"])
    assert [entry.key for entry in entries] == ["mooncake/ram/node-a:17001", "mooncake/rpc_meta/node-a:17001"]
    assert all(removal.kept == "" for removal in remove_entries(report, entries))
    assert etcd.keys() == []


def test_a_stale_name_on_the_http_server_stops_an_engine_until_it_is_removed(
    http_server: RealHttp, started: Started
) -> None:
    pytest.importorskip("mooncake", reason="Mooncake is not installed")
    server = parse_metadata_server(http_server.url)
    cluster = {"MC_METADATA_CLUSTER_ID": "blue"}
    code, _, process = started.engine("node-a:17001", http_server.url, **cluster)
    assert code == 0
    (state,) = survey(server, ["blue/node-a:17001"]).segments.otherwise(())
    assert state.liveness is Liveness.ALIVE
    process.send_signal(signal.SIGKILL)
    process.wait(10)

    code, _, _ = started.engine("node-a:17001", http_server.url, **cluster)
    assert code == -1
    report = survey(server, ["blue/node-a:17001"])
    assert ids(report) == ["metadata-stale-segment"]
    remove_entries(report, chosen_entries(report, ["blue/node-a:17001"]))
    code, _, _ = started.engine("node-a:17001", http_server.url, **cluster)
    assert code == 0


def test_all_endpoints_are_shown_and_the_first_that_answers_is_asked(etcd: RealEtcd) -> None:
    etcd.register("a:1", free_port())
    report = survey(parse_metadata_server(f"etcd://127.0.0.1:{free_port()},127.0.0.1:{etcd.port}"))
    assert [state.reach for state in report.endpoints] == [Reach.UNREACHABLE, Reach.ANSWERS]
    assert ids(report) == ["metadata-unreachable", "metadata-stale-segment"]


def test_a_server_that_is_not_there_has_no_segments_to_judge() -> None:
    report = survey(parse_metadata_server(f"etcd://127.0.0.1:{free_port()}"), ["a"])
    assert ids(report) == ["metadata-unreachable"]
    assert not report.segments.known and report.missing == ()


def test_without_a_server_there_is_nothing_to_look_at() -> None:
    report = survey(parse_metadata_server("P2PHANDSHAKE"))
    assert report.endpoints == () and ids(report) == []


def test_redis_is_only_asked_whether_it_is_there(rough: Rough) -> None:
    endpoint = rough(lambda connection: connection.sendall(b"+PONG\r\n"))
    report = survey(parse_metadata_server(f"redis://{endpoint}"))
    assert [state.reach for state in report.endpoints] == [Reach.ANSWERS]


def test_names_that_are_not_registered_are_missing(etcd: RealEtcd) -> None:
    assert survey(parse_metadata_server(etcd.url), ["b:1", "b:1"]).missing == ("b:1",)


def test_one_wrong_name_stops_the_whole_removal(etcd: RealEtcd) -> None:
    etcd.register("a:1", free_port())
    report = survey(parse_metadata_server(etcd.url))
    with pytest.raises(ConfigError, match="is no segment"):
        chosen_entries(report, ["a:1", "a"])
    assert len(etcd.keys()) == 2


def test_an_engine_that_answers_goes_by_force_alone(etcd: RealEtcd, rough: Rough) -> None:
    etcd.register("a:1", rough(lambda connection: None).port)
    report = survey(parse_metadata_server(etcd.url))
    with pytest.raises(ConfigError, match="--force"):
        chosen_entries(report, ["a:1"])
    assert len(chosen_entries(report, ["a:1"], force=True)) == 2


def segment(host: str, port: int, key: str = "mooncake/rpc_meta/a") -> Segment:
    return Segment("a", (Entry(key, b""),), host=host, rpc_port=port)


def test_a_loopback_engine_of_another_host_is_not_looked_for_here(rough: Rough) -> None:
    found = segment("127.0.0.1", rough(lambda connection: None).port)
    assert look_for_engines([found], same_host=True)[0].liveness is Liveness.ALIVE
    (state,) = look_for_engines([found], same_host=False)
    assert state.liveness is Liveness.UNKNOWN and "its own host" in state.detail


def test_a_segment_without_an_address_is_unknown() -> None:
    states = look_for_engines([segment("", 0), segment("", 0, "mooncake/ram/a")], same_host=True)
    assert [state.liveness for state in states] == [Liveness.UNKNOWN] * 2
    assert states[0].detail != states[1].detail


def test_an_engine_that_cannot_be_asked_is_not_called_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    (state,) = look_for_engines([segment("node-b", 15000)], same_host=False)
    assert state.liveness is Liveness.UNKNOWN and "does not resolve" in state.detail


def test_looking_for_many_engines_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    from pdpanel.panel.metadata import liveness

    monkeypatch.setattr(liveness, "_SECONDS_FOR_ALL", -1.0)
    (state,) = look_for_engines([segment("127.0.0.1", free_port())], same_host=True)
    assert state.liveness is Liveness.UNKNOWN and "not asked" in state.detail
