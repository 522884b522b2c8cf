from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pdpanel.nic_probe.counters_by_device import counted_devices
from pdpanel.nic_probe.device_counters import DeviceCounters
from pdpanel.panel.simulate.simulation import Simulation
from pdpanel.panel.simulate.ticker import Ticker
from simulated_places import count_of, prepared

PORT = "mlx5_0:1"


class Clock:
    def __init__(self) -> None:
        self.t = 1e9

    def __call__(self) -> float:
        return self.t


@pytest.fixture
def host(tmp_path: Path) -> Simulation:
    return prepared(tmp_path)


def test_kv_is_counted_scaled_on_both_ends(host: Simulation) -> None:
    clock = Clock()
    ticker = Ticker(host, clock, lambda: 0.5)
    ticker.tick()
    before = count_of(host, PORT), count_of(host, PORT, "rx")
    ticker.send(("mlx5_0",), ("mlx5_0:1",), 4e6)
    clock.t += 1.0
    ticker.tick()
    for old, way in zip(before, ("tx", "rx"), strict=True):
        moved = count_of(host, PORT, way) - old
        assert moved == pytest.approx(4e6 * host.kv_scale + host.idle_bytes_per_s, abs=8)


def test_no_port_is_faster_than_its_line_and_nothing_is_lost(host: Simulation) -> None:
    clock = Clock()
    ticker = Ticker(host, clock, lambda: -0.5)  # no noise
    line = host.ports[0].line_bytes_per_s or 0.0
    start = last = count_of(host, PORT)
    ticker.send(("mlx5_0",), (), 5 * line / host.kv_scale)
    steps = 0
    while count_of(host, PORT) - start < 5 * line - 8:
        clock.t += 0.5
        ticker.tick()
        now = count_of(host, PORT)
        assert 0 < now - last <= line * 0.5
        last, steps = now, steps + 1
    assert steps > 10


def test_what_names_no_nic_travels_over_the_loopback(host: Simulation) -> None:
    clock = Clock()
    ticker = Ticker(host, clock, lambda: -0.5)
    before = count_of(host, "lo"), count_of(host, PORT)
    ticker.send((), ("unheard_of",), 1000.0)
    clock.t += 0.1
    ticker.tick()
    assert count_of(host, "lo") - before[0] == 1000 * host.kv_scale
    assert count_of(host, "lo", "rx") - count_of(host, "lo", "tx") == (1 << 30 | 1) - (1 << 31 | 1)
    assert count_of(host, PORT) == before[1]


def test_noise_is_counted_once_whoever_ticks(host: Simulation) -> None:
    clock = Clock()
    tickers = [Ticker(host, clock, lambda: 0.5) for _ in range(3)]
    tickers[0].tick()
    before = count_of(host, PORT)
    for number in range(12):
        clock.t += 0.25
        tickers[number % 3].tick()
        tickers[(number + 1) % 3].tick()
    assert count_of(host, PORT) - before == pytest.approx(3 * host.idle_bytes_per_s, rel=0.01)


@pytest.mark.parametrize("leap", [-1e6, 1e6])
def test_a_clock_that_jumps_makes_no_traffic(host: Simulation, leap: float) -> None:
    clock = Clock()
    ticker = Ticker(host, clock)
    ticker.tick()
    before = count_of(host, PORT)
    clock.t += leap
    ticker.tick()
    assert count_of(host, PORT) == before


def test_writers_that_meet_lose_nothing(host: Simulation) -> None:
    clock = Clock()
    before = count_of(host, "lo")

    def work() -> None:
        ticker = Ticker(host, clock, lambda: -0.5)
        for _ in range(50):
            ticker.send((), (), 10.0)
            ticker.tick()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count_of(host, "lo") - before == 4 * 50 * 10 * host.kv_scale


@settings(max_examples=20, deadline=None)
@given(amounts=st.lists(st.floats(0, 1e9), max_size=5), junk=st.sampled_from([b"", b"x\n", b"-4\n", b"9" * 40]))
def test_a_counter_that_is_broken_stays_so_and_others_move(
    tmp_path_factory: pytest.TempPathFactory, amounts: list[float], junk: bytes
) -> None:
    host = prepared(tmp_path_factory.mktemp("state"))
    (host.root / host.ports[0].tx).write_bytes(junk)
    clock = Clock()
    ticker = Ticker(host, clock, lambda: 0.5)
    last = count_of(host, PORT, "rx")
    for amount in amounts:
        ticker.send(("mlx5_0",), ("mlx5_0",), amount)
        clock.t += 0.5
        ticker.tick()
        now = count_of(host, PORT, "rx")
        assert now >= last
        last = now
    assert (host.root / host.ports[0].tx).read_bytes() == junk


def test_the_panels_own_reader_sees_it(host: Simulation) -> None:
    device = counted_devices(host.files)[0]
    reader = DeviceCounters(device, host.files, str(host.root))
    clock = Clock()
    ticker = Ticker(host, clock, lambda: 0.5)
    try:
        reader.read()
        ticker.send(("mlx5_0",), (), 1e6)
        clock.t += 1.0
        ticker.tick()
        rates = reader.read()
    finally:
        reader.close()
    assert rates is not None and (rates[PORT].tx.value or 0.0) > 1e6
