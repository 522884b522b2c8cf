"""The sampler of the host's links: a device that hangs, fails or goes holds up no other."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import pytest
from pdpanel.nic_probe.counters import LinkRate
from pdpanel.nic_probe.reading import Reading
from pdpanel.panel.web import host_series
from pdpanel.panel.web.host_series import HostSampler
from pdpanel.panel.web.host_sources import TrafficSource, this_host_sources
from pdpanel.panel.web.port import HostTraffic


def rate(tx: float, reason: str = "", note: str = "") -> LinkRate:
    sent: Reading[float] = Reading(None, "test", reason) if reason else Reading(tx, "test")
    return LinkRate(sent, Reading(0.0, "test"), "port counters", note)


class Fake:
    """A device whose driver answers as a test says: with rates, an error, or never."""

    def __init__(self, name: str, answer: LinkRate | BaseException | threading.Event, counts: bool = True) -> None:
        self.name = name
        self.period_s = 0.001
        self.counts = counts
        self.answer = answer
        self.closed = threading.Event()
        self.reads = 0

    def keys(self) -> Sequence[str]:
        return (f"{self.name}:1",)

    def read(self) -> Mapping[str, LinkRate] | None:
        self.reads += 1
        answer = self.answer
        if isinstance(answer, threading.Event):
            answer.wait(60)
            return None
        if isinstance(answer, BaseException):
            raise answer
        return {f"{self.name}:1": answer}

    def close(self) -> None:
        self.closed.set()


Start = Callable[..., HostSampler]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts a sampler over sources; its beat and its patience are those of a test."""
    monkeypatch.setattr(host_series, "_BEAT_S", 0.005)
    monkeypatch.setattr(host_series, "_SEARCH_S", 0.01)
    monkeypatch.setattr(host_series, "_SILENT_S", 0.3)
    samplers: list[HostSampler] = []

    def begin(find: Callable[[], Sequence[TrafficSource]]) -> HostSampler:
        samplers.append(HostSampler(find, clock=lambda: 1000.0))
        samplers[-1].start()
        return samplers[-1]

    yield begin
    for sampler in samplers:
        sampler.close()


def wait(sampler: HostSampler, wanted: Callable[[HostTraffic], bool]) -> HostTraffic:
    """Returns the first sample that is as wanted."""
    deadline = time.monotonic() + 50
    while time.monotonic() < deadline:
        traffic = sampler.latest()
        if traffic is not None and wanted(traffic):
            return traffic
        time.sleep(0.002)
    raise AssertionError(f"the sample did not come; the last one is {sampler.latest()}")


def test_before_anything_is_known_there_is_nothing() -> None:
    assert HostSampler(list).latest() is None


def test_every_device_is_sampled_and_the_rate_that_is_reached_is_told(start: Start) -> None:
    sampler = start(lambda: sources)
    sources: list[TrafficSource] = [Fake("mlx5_0", rate(5.0)), Fake("gpus", rate(7.0), counts=False)]
    traffic = wait(sampler, lambda now: len(now.links) == 2 and now.rate_hz > 0 and known(now, "mlx5_0:1"))
    assert traffic.at == 1000.0
    link = traffic.links["mlx5_0:1"]
    assert (link.tx_bytes_per_s, link.rx_bytes_per_s, link.source, link.reason) == (5.0, 0.0, "port counters", "")


def known(traffic: HostTraffic, key: str) -> bool:
    return key in traffic.links and traffic.links[key].tx_bytes_per_s is not None


@pytest.fixture
def hung() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def test_a_device_that_hangs_is_a_gap_and_the_others_go_on(start: Start, hung: threading.Event) -> None:
    good = Fake("mlx5_1", rate(1.0))
    sources: list[TrafficSource] = [Fake("mlx5_0", hung), good]
    sampler = start(lambda: sources)
    traffic = wait(sampler, lambda now: len(now.links) == 2 and now.rate_hz > 0 and known(now, "mlx5_1:1"))
    assert traffic.links["mlx5_0:1"].tx_bytes_per_s is None
    assert "has not answered for" in traffic.links["mlx5_0:1"].reason
    reads = good.reads
    wait(sampler, lambda now: good.reads > reads + 5)


def test_a_device_that_hangs_later_becomes_a_gap_under_the_same_names(start: Start, hung: threading.Event) -> None:
    device = Fake("mlx5_0", rate(1.0))
    sampler = start(lambda: [device])
    wait(sampler, lambda now: now.links["mlx5_0:1"].tx_bytes_per_s == 1.0)
    device.answer = hung
    link = wait(sampler, lambda now: now.links["mlx5_0:1"].tx_bytes_per_s is None).links["mlx5_0:1"]
    assert "has not answered" in link.reason
    assert link.source == "port counters"
    device.answer = rate(2.0)
    hung.set()
    wait(sampler, lambda now: now.links["mlx5_0:1"].tx_bytes_per_s == 2.0)


def test_gaps_and_notes_of_the_counters_reach_the_value(start: Start) -> None:
    sources = [Fake("mlx5_0", rate(0.0, reason="went backwards")), Fake("ionic_0", rate(9.0, note="above the line"))]
    links = wait(start(lambda: sources), lambda now: len(now.links) == 2 and known(now, "ionic_0:1")).links
    assert links["mlx5_0:1"].tx_bytes_per_s is None
    assert links["mlx5_0:1"].rx_bytes_per_s == 0.0
    assert links["mlx5_0:1"].reason == "went backwards"
    assert links["ionic_0:1"].source == "port counters; above the line"
    assert links["ionic_0:1"].reason == ""


def test_an_error_in_one_device_is_its_gap_and_it_is_tried_again(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken = Fake("mlx5_0", RuntimeError("no"))
    sampler = start(lambda: [broken, Fake("mlx5_1", rate(1.0))])
    traffic = wait(sampler, lambda now: len(now.links) == 2)
    assert traffic.links["mlx5_0:1"].reason == "it cannot be sampled: RuntimeError"
    assert broken.closed.wait(50)
    assert "mlx5_0 cannot be sampled" in caplog.text
    broken.answer = rate(3.0)
    reads = broken.reads
    assert reads == 1
    monkeypatch.setattr(host_series, "_RETRY_S", 0.0)
    with sampler._lock:
        sampler._followed["mlx5_0"].retry_at = 0.0
    # Until the new try has answered there is no such link.
    wait(sampler, lambda now: known(now, "mlx5_0:1") and now.links["mlx5_0:1"].tx_bytes_per_s == 3.0)


def test_a_source_that_ends_before_it_answered_is_a_gap(start: Start) -> None:
    sampler = start(lambda: [Fake("gpus", EOFError())])
    link = wait(sampler, lambda now: bool(now.links)).links["gpus:1"]
    assert link.reason == "nobody answers for it any more"


def test_devices_that_come_and_go_are_followed(start: Start) -> None:
    first, second = Fake("mlx5_0", rate(1.0)), Fake("mlx5_1", rate(2.0))
    sources: list[TrafficSource] = [first]
    sampler = start(lambda: list(sources))
    wait(sampler, lambda now: list(now.links) == ["mlx5_0:1"])
    sources[:] = [second]
    wait(sampler, lambda now: list(now.links) == ["mlx5_1:1"])
    assert first.closed.wait(50)


def test_a_list_that_cannot_be_made_keeps_the_last_one(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    failing = threading.Event()
    device = Fake("mlx5_0", rate(1.0))

    def find() -> Sequence[TrafficSource]:
        if failing.is_set():
            raise OSError("no list")
        return [device]

    sampler = start(find)
    wait(sampler, lambda now: bool(now.links))
    failing.set()
    reads = device.reads
    wait(sampler, lambda now: "cannot be listed" in caplog.text and device.reads > reads)


def test_the_history_is_bounded_and_in_order(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_series, "_HISTORY", 3)
    sampler = start(lambda: [Fake("mlx5_0", rate(1.0))])
    wait(sampler, lambda now: len(sampler.history()) == 3)
    assert all(list(traffic.links) == ["mlx5_0:1"] for traffic in sampler.history())


def test_devices_rest_while_nobody_looks(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_series, "_UNSEEN_PERIOD_S", 50.0)
    monkeypatch.setattr(host_series, "_LOOKED_S", 0.05)
    device = Fake("mlx5_0", rate(1.0))
    monkeypatch.setattr(host_series, "_SILENT_S", 1000.0)
    sampler = start(lambda: [device])
    deadline = time.monotonic() + 30
    while len(sampler.history()) < 20 and time.monotonic() < deadline:
        threading.Event().wait(0.005)
    assert (len(sampler.history()) >= 20, device.reads) == (True, 1)
    wait(sampler, lambda now: device.reads > 20)


def test_close_ends_all_but_what_hangs(start: Start, hung: threading.Event) -> None:
    good = Fake("mlx5_1", rate(1.0))
    sampler = start(lambda: [Fake("mlx5_0", hung), good])
    wait(sampler, lambda now: bool(now.links))
    sampler.close()
    assert good.closed.wait(50)
    reads = good.reads
    assert sampler.latest() is not None
    assert good.reads == reads


def test_this_host_has_its_loopback(start: Start) -> None:
    if not os.path.exists("/sys/class/net/lo/statistics/tx_bytes"):
        pytest.skip("this machine shows no loopback interface")
    assert "lo" in [key for source in this_host_sources() for key in source.keys()]
    traffic = wait(start(this_host_sources), lambda now: "lo" in now.links and now.rate_hz > 0 and known(now, "lo"))
    assert traffic.links["lo"].source == "netdev"
