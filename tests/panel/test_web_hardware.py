"""The Hardware tab's content and routes: what is shown of a host, files that are opened, and live traffic."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pdpanel.nic_probe.errors import SourceError
from pdpanel.nic_probe.finding import Evidence, Finding, Severity
from pdpanel.panel.config import read_config
from pdpanel.panel.runs import Runs
from pdpanel.panel.web.app import build_api
from pdpanel.panel.web.guard import Access, Guard
from pdpanel.panel.web.hardware import describe, describe_file
from pdpanel.panel.web.hub import Hub
from pdpanel.panel.web.port import HostTraffic, LinkTraffic
from pdpanel.panel.web.source import RunsSource
from pdpanel.panel.web.subscriber import Subscriber
from sample_devices import gpu, host_document, netdev, nic, port
from sample_hosts import HOSTS, findings_of
from simulated_source import SimulatedSource
from starlette.testclient import TestClient

TOKEN = "t0ken"
RAW = {"Content-Type": "application/octet-stream"}
INSPECT = "/api/hardware/inspect"


def shown(host: str) -> Any:
    document = HOSTS[host]()
    return json.loads(json.dumps(describe(document, findings_of(document))))


def table(host: Mapping[str, Any], title: str) -> list[dict[str, Any]]:
    (found,) = [one for one in host["tables"] if one["title"] == title]
    return [dict(zip(found["columns"], row, strict=True)) for row in found["rows"]]


def values(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {row["label"]: row["value"] for row in rows}


@pytest.mark.parametrize("make", HOSTS.values(), ids=HOSTS)
def test_every_host_can_be_told_as_json(make: Callable[[], dict[str, Any]]) -> None:
    document = make()
    host = json.loads(json.dumps(describe(document, findings_of(document))))
    assert host["document"] == json.loads(json.dumps(document))
    assert host["live"] is document["host"]["live"]
    for one in host["tables"]:
        assert all(len(row) == len(one["columns"]) for row in one["rows"])
        assert one["rows"] or one["empty"]
    devices = {box["id"] for box in host["picture"]["boxes"] if box["kind"] in ("gpu", "nic", "netdev")}
    assert devices <= set(host["details"])


def test_what_is_not_known_has_its_reason() -> None:
    host = shown("from_file")
    assert values(host["facts"])["Processor"] == {"text": "\N{EN DASH}", "reason": "the file does not say"}
    (first, *_) = table(host, "GPUs")
    assert first["Memory"] == {"text": "\N{EN DASH}", "reason": "the file does not say"}
    detail = values(host["details"]["0000:10:1c.0"]["rows"])
    assert detail["UUID"] == {"text": "\N{EN DASH}", "reason": "the file does not say"}
    assert values(shown("eight_pairs")["details"]["0000:18:00.0"]["more"])["Default power limit"]["reason"] == (
        "NVML says Not Supported"
    )


def test_what_is_not_known_is_not_called_good() -> None:
    found = Finding("x", Severity.UNKNOWN, "facts", (), "Not known.", "")
    (one,) = [one for one in describe(host_document("h"), (found,))["summary"] if one["label"] == "Findings"]
    assert (one["value"], str(one["sign"])) == ("no errors, no warnings, as far as is known", "unknown")


def test_a_topology_file_says_why_it_does_not_know(tmp_path: Path) -> None:
    path = tmp_path / "pdpanel-inspect-abc"
    path.write_text(
        '<system version="1"><cpu numaid="0" affinity="ff">'
        '<pci busid="0000:03:00.0" class="0x030200"><gpu dev="1"/></pci>'
        '<pci busid="0000:04:00.0" class="0x030200"><gpu dev="0"/></pci></cpu></system>'
    )
    host = json.loads(json.dumps(describe_file(path, "node.xml")))
    facts = values(host["facts"])
    for label in ("Host", "Sockets / cores / threads", "Instruction sets", "GPU driver / runtime"):
        assert facts[label]["reason"], label
    # The place of the copy is of no use to the person, who called the file by its name.
    assert str(tmp_path) not in json.dumps(host)
    # People count GPUs by their numbers, whatever their addresses are.
    assert [row["GPU"] for row in table(host, "GPUs")] == ["GPU 0", "GPU 1"]


def test_interfaces_tell_their_state_as_the_picture_does_and_are_not_hundreds() -> None:
    many = [netdev(f"veth{number}", pci=None, addresses=[]) for number in range(300)]
    found = [*many, netdev("lo", loopback=True, operstate="unknown"), netdev("eth0", operstate="down", pci="0000:1")]
    host = json.loads(json.dumps(describe(host_document("h", netdevs=found), ())))
    rows = {row["Interface"]: row["State"] for row in table(host, "Network interfaces")}
    assert len(rows) == 64
    assert rows["eth0"] == {"text": "down", "sign": "bad"}
    assert rows["lo"] == {"text": "up", "sign": "good"}
    (rest,) = [one["rest"] for one in host["tables"] if one["title"] == "Network interfaces"]
    assert rest == "And 238 more interfaces, most of them of containers."


def test_which_nic_each_gpu_should_use() -> None:
    host = shown("sixteen_nics")
    rows = table(host, "NIC to use for each GPU")
    assert rows[4]["--disaggregation-ib-device"] == {"code": "rdmap8s0,rdmap9s0,rdmap10s0"}
    assert rows[4]["Path"] == "PIX"
    detail = host["details"]["0000:7d:00.0"]
    assert detail["partners"] == ["rdmap8s0", "rdmap9s0", "rdmap10s0"]
    assert values(detail["rows"])["Path to rdmap8s0"] == "PIX: same switch"
    assert host["details"]["rdmap8s0"]["partners"] == ["0000:7d:00.0", "0000:86:00.0"]
    strong = [
        key for key, cell in table(host, "Paths from GPU to NIC")[4].items() if cell != "GPU 4" and cell["strong"]
    ]
    assert strong == detail["partners"]


def test_what_is_broken_is_told_by_word_and_sign() -> None:
    host = shown("sixteen_nics")
    rows = {row["Port"]: row for row in table(host, "RDMA ports")}
    assert rows["rdmap5s0:1"]["State"] == {"text": "DOWN (Polling)", "sign": "bad"}
    # The rate of a port that is down is none, whatever its driver says.
    assert rows["rdmap5s0:1"]["Rate"]["text"] == "\N{EN DASH}"
    assert rows["rdmap14s0:1"]["Usable"] == {"text": "no: port 1 is ACTIVE and has no usable GID", "sign": "bad"}
    assert rows["rdmap14s0:1"]["GID used"]["reason"] == "port 1 is ACTIVE and has no usable GID"
    assert rows["rdmap0s0:1"]["GID used"] == "3: 10.1.0.7 (RoCE v2)"
    summary = {one["label"]: (one["value"], one["sign"]) for one in host["summary"]}
    assert summary["RDMA NICs"] == ("13 of 16 usable", "bad")
    assert summary["Findings"] == ("3 errors, 1 warning", "bad")


def test_live_numbers_are_asked_for_on_a_live_host_alone() -> None:
    assert table(shown("eight_pairs"), "RDMA ports")[0]["Sent now"] == {
        "live": "mlx5_0:1",
        "direction": "tx",
        "capacity": 50e9,
    }
    assert "live" not in json.dumps([shown("from_file")["tables"], shown("from_file")["details"]])


def test_two_port_nic_and_nic_without_ports() -> None:
    nics = [nic("mlx4_0", None, 0, port(), port(2, state="DOWN")), nic("bare", None, 0)]
    host = json.loads(json.dumps(describe(host_document("h", nics=nics), ())))
    assert [row["Port"] for row in table(host, "RDMA ports")] == ["mlx4_0:1", "mlx4_0:2", "bare"]
    rows = values(host["details"]["mlx4_0"]["rows"])
    assert (rows["Port 1: State"], rows["Port 2: State"]) == ("ACTIVE (LinkUp)", "DOWN (Polling)")


def test_report_can_be_pasted_and_names_what_counts() -> None:
    report = shown("sixteen_nics")["report"]
    assert "### pdpanel: `train-3.example`" in report
    assert "**error** `port-down` `rdmap5s0`" in report
    assert "`/sys/class/infiniband/rdmap5s0/ports/1/state`: `1: DOWN`" in report
    assert "| GPU 4 | NVIDIA H100 80GB HBM3 | 0000:7d:00.0 | 1 | rdmap8s0, rdmap9s0, rdmap10s0 |" in report


def test_names_from_outside_break_neither_report_nor_lines() -> None:
    evil = "a`|b\n# c\x1b[31m<img src=x>\u202e"
    document = host_document(evil, gpus=[gpu(0, "0000:01:00.0", 0, name=evil)])
    found = Finding("x", Severity.ERROR, evil, (Evidence(evil, evil),), evil, evil)
    host = describe(document, (found,), evil)
    for line in host["report"].splitlines():
        assert "<img" not in re.sub(r"`[^`]*`", "", line).replace("\\<", "") or "remedy" in line
        assert not line.startswith("# ")
    everything = json.dumps({**host, "document": None}, ensure_ascii=False)
    assert not {"\x1b", "\u202e"} & set(everything)
    assert host["document"] is document


def test_a_topology_file_is_told_as_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text(
        '<system version="1"><cpu numaid="0" affinity="ff"><pci busid="0000:03:00.0" class="0x030200">'
        '<gpu dev="0"/></pci></cpu></system>'
    )
    host = describe_file(path, "node.xml")
    assert host["label"] == "dump of node.xml, not this host"
    assert host["live"] is False
    assert [one["id"] for one in host["document"]["gpus"]] == ["0000:03:00.0"]
    assert host["picture"]["title"].startswith("node.xml: 1 GPU")


@pytest.mark.parametrize("content", [b"", b"hello", b"<system>", b"\x1f\x8b\x08\x00broken", b"\x00" * 2000])
def test_a_file_that_is_no_host_is_one_sentence_with_its_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "temporary"
    path.write_bytes(content)
    with pytest.raises(SourceError) as caught:
        describe_file(path, "node 7.tar.gz")
    text = str(caught.value)
    assert text.startswith("file = 'node 7.tar.gz' ")
    assert str(path) not in text
    assert "\n" not in text


@pytest.fixture
def source(tmp_path: Path) -> SimulatedSource:
    (tmp_path / "host").write_text("eight_pairs")
    return SimulatedSource(tmp_path)


@pytest.fixture
def client(source: SimulatedSource) -> Iterator[TestClient]:
    access = Access(frozenset({"testserver"}), frozenset({"http://testserver"}), TOKEN, "pdpanel-80")
    with TestClient(Guard(build_api(source), access), headers={"Authorization": f"Bearer {TOKEN}"}) as client:  # type: ignore[arg-type]
        yield client


def test_this_host_is_told(client: TestClient) -> None:
    host = client.get("/api/hardware").json()
    assert (host["label"], host["picture"]["title"]) == ("this host", "gpu-node-07: 8 GPUs, 9 RDMA NICs")


def test_a_file_is_told_instead(client: TestClient) -> None:
    answer = client.post(INSPECT, params={"name": "a b.gz"}, content=b"sample sixteen_nics", headers=RAW)
    assert answer.status_code == 200
    assert answer.json()["label"] == "dump of a b.gz, not this host"
    assert len(answer.json()["document"]["nics"]) == 16


def test_a_wrong_file_is_one_sentence(client: TestClient) -> None:
    answer = client.post(INSPECT, params={"name": "notes.txt"}, content=b"hello", headers=RAW)
    assert answer.status_code == 422
    assert answer.json()["error"].startswith("file = 'notes.txt' ")
    assert client.post(INSPECT, content=b"x", headers=RAW).json()["error"].startswith("name = ")


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded"])
def test_a_page_of_another_site_cannot_send_a_file(client: TestClient, kind: str) -> None:
    """A browser sends these three types to any site without asking it first."""
    answer = client.post(INSPECT, params={"name": "x"}, content=b"sample flat", headers={"Content-Type": kind})
    assert answer.status_code == 415
    assert (
        client.post(
            INSPECT, params={"name": "x"}, content=b"x", headers={**RAW, "Origin": "http://evil.test"}
        ).status_code
        == 403
    )


def test_an_action_does_not_take_raw_bytes(client: TestClient, source: SimulatedSource) -> None:
    body = b'{"mode": "pd", "model": "m"}'
    assert client.post("/api/runs", content=body, headers=RAW).status_code == 422
    assert source.calls == []


def test_the_source_is_closed_when_the_panel_ends(source: SimulatedSource) -> None:
    with TestClient(build_api(source)):
        assert ("close",) not in source.calls
    assert ("close",) in source.calls


class _Sampled(SimulatedSource):
    """A host whose traffic the test says."""

    traffic: HostTraffic | None = None

    def host_traffic(self) -> HostTraffic | None:
        return self.traffic


def run_with_hub(source: SimulatedSource, test: Callable[[Hub], Awaitable[None]]) -> None:
    async def main() -> None:
        hub = Hub(source, interval_s=0.01)
        poller = asyncio.create_task(hub.run())
        try:
            await asyncio.wait_for(test(hub), 20)
        finally:
            poller.cancel()
            await asyncio.gather(poller, return_exceptions=True)

    asyncio.run(main())


async def packet(subscriber: Subscriber) -> Any:
    while True:
        for found in json.loads(await subscriber.get()):
            if found["type"] == "host":
                return found


def test_traffic_is_sent_whole_and_then_as_changes(tmp_path: Path) -> None:
    source = _Sampled(tmp_path)
    still = LinkTraffic(0.0, 0.0, "port counters", "")
    gap = LinkTraffic(None, None, "port counters", "the counter went backwards")

    async def test(hub: Hub) -> None:
        async with hub.subscribe() as one:
            source.traffic = HostTraffic(10.0, 9.5, {"a:1": still, "b:1": still, "eth0": still})
            first = await packet(one)
            assert (first["whole"], first["at"], first["rate_hz"]) == (True, 10.0, 9.5)
            assert set(first["links"]) == {"a:1", "b:1", "eth0"}
            source.traffic = HostTraffic(10.5, 9.4, {"a:1": still, "b:1": gap})
            second = await packet(one)
            assert (second["whole"], second["gone"]) == (False, ["eth0"])
            # A gap travels as a missing value, never as 0.
            assert second["links"] == {"b:1": [None, None, "port counters", "the counter went backwards"]}
            # A device that falls silent leaves the time of the sample as it was.
            source.traffic = HostTraffic(10.5, 9.4, {"a:1": gap, "b:1": gap})
            assert set((await packet(one))["links"]) == {"a:1"}
            async with hub.subscribe() as two:
                late = await packet(two)
                assert late["whole"] is True
                assert set(late["links"]) == {"a:1", "b:1"}

    run_with_hub(source, test)


def test_a_sample_is_sent_once(tmp_path: Path) -> None:
    source = _Sampled(tmp_path)
    source.traffic = HostTraffic(10.0, 9.5, {})

    async def test(hub: Hub) -> None:
        async with hub.subscribe() as one:
            kinds: list[object] = []
            while kinds.count("runs") < 5:
                kinds += [found["type"] for found in json.loads(await one.get())]
            assert kinds.count("host") == 1

    run_with_hub(source, test)


def test_this_host_is_sampled_until_the_source_is_closed(tmp_path: Path) -> None:
    source = RunsSource(Runs(read_config({}, state_dir=tmp_path)))
    deadline = time.monotonic() + 30
    links: Mapping[str, LinkTraffic] = {}
    while "lo" not in links and time.monotonic() < deadline:
        threading.Event().wait(0.02)
        traffic = source.host_traffic()
        links = traffic.links if traffic else {}
    source.close()
    assert "lo" in links
    assert "host-traffic" not in [thread.name for thread in threading.enumerate()]
