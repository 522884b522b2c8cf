"""Counters that are read again and again, and the gaps in them."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.nic_probe import counters
from pdpanel.nic_probe.counters import CountedLink, CounterReader, CounterSample, LinkRate, rates, rises
from pdpanel.nic_probe.nics.counter_files import SATURATED, CounterFile, CounterSources, counter_sources
from pdpanel.nic_probe.sources.files import HostFiles
from simulated_node import grow_node

Grow = Callable[[Mapping[str, str]], Path]

PORT = CountedLink(
    "mlx5_0:1",
    CounterSources(
        "port counters", (CounterFile("tx", 4),), (CounterFile("rx", 4),), {"errors": "errors", "drops": "drops"}
    ),
    rate_path="rate",
    also=("errors", "drops"),
)


class Failing:
    """`os.pread` for files of which some fail as those of devices do, which no plain file does."""

    def __init__(self) -> None:
        self.errors: dict[str, int] = {}

    def __call__(self, descriptor: int, size: int, place: int) -> bytes:
        name = os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}"))
        if name in self.errors:
            raise OSError(self.errors[name], os.strerror(self.errors[name]))
        return os.pread(descriptor, size, place)


@pytest.fixture
def again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that were lost are looked for with each sample, and not once in a second."""
    monkeypatch.setattr(counters, "_LOOK_AFTER_S", 0.0)


@pytest.fixture
def root(grow: Grow) -> Path:
    return grow({"tx": "1000\n", "rx": "2000\n", "errors": "7\n", "drops": "0\n", "rate": "400 Gb/sec (4X NDR)\n"})


@pytest.fixture
def opened() -> Iterator[Callable[..., CounterReader]]:
    readers: list[CounterReader] = []

    def make(*arguments: object, **options: object) -> CounterReader:
        readers.append(CounterReader(*arguments, **options))  # type: ignore[arg-type]
        return readers[-1]

    yield make
    for reader in readers:
        reader.close()


Opened = Callable[..., CounterReader]


def apart(sample: CounterSample, seconds: float) -> CounterSample:
    """Returns the sample as if it had been taken that much later than it was."""
    return CounterSample(sample.at + seconds, sample.texts, sample.frame)


def rate_of(before: CounterSample, after: CounterSample) -> LinkRate:
    (rate,) = rates(CounterSample(0.0, before.texts, before.frame), _at(2.0, after)).values()
    return rate


def _at(at: float, sample: CounterSample) -> CounterSample:
    return CounterSample(at, sample.texts, sample.frame)


def test_words_become_bytes_per_second(root: Path, opened: Opened) -> None:
    reader = opened([PORT], str(root))
    before = reader.sample()
    (root / "tx").write_text("1500\n")
    (root / "rx").write_text("2001\n")
    rate = rate_of(before, reader.sample())
    assert (rate.tx.value, rate.rx.value) == (1000.0, 2.0)
    assert rate.source == "port counters"
    assert rate.tx.source == "/tx"
    assert rate.note == ""


def test_parts_of_a_direction_are_added(grow: Grow, opened: Opened) -> None:
    root = grow({"ip4": "10\n", "ip6": "5\n", "in": "1\n"})
    sources = CounterSources("hw_counters (irdma)", (CounterFile("ip4"), CounterFile("ip6")), (CounterFile("in"),))
    reader = opened([CountedLink("irdma0:1", sources)], str(root))
    before = reader.sample()
    (root / "ip4").write_text("20\n")
    (root / "ip6").write_text("11\n")
    assert rate_of(before, reader.sample()).tx.value == 8.0


def test_of_two_samples_at_one_moment_there_is_no_rate(root: Path, opened: Opened) -> None:
    sample = opened([PORT], str(root)).sample()
    (rate,) = rates(sample, sample).values()
    assert not rate.tx.known and "once" in rate.tx.reason


def test_a_counter_that_goes_backwards_is_a_gap(root: Path, opened: Opened) -> None:
    reader = opened([PORT], str(root))
    before = reader.sample()
    (root / "tx").write_text("3\n")
    (root / "rx").write_text("2004\n")
    rate = rate_of(before, reader.sample())
    assert rate.tx.value is None and "went backwards" in rate.tx.reason
    assert rate.rx.value == 8.0, "the other direction goes on"


def test_a_counter_at_the_end_of_32_bits_is_a_gap(root: Path, opened: Opened) -> None:
    reader = opened([PORT], str(root))
    before = reader.sample()
    (root / "tx").write_text(f"{SATURATED}\n")
    middle = reader.sample()
    assert "no longer counts" in rate_of(before, middle).tx.reason
    assert "no longer counts" in rate_of(middle, reader.sample()).tx.reason


def test_a_counter_of_64_bits_may_pass_that_value(grow: Grow, opened: Opened) -> None:
    root = grow({"tx": "10\n", "rx": "10\n"})
    sources = CounterSources("hw_counters", (CounterFile("tx"),), (CounterFile("rx"),))
    reader = opened([CountedLink("efa:1", sources)], str(root))
    before = reader.sample()
    (root / "tx").write_text(f"{SATURATED}\n")
    assert rate_of(before, reader.sample()).tx.value == (SATURATED - 10) / 2


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("N/A (no PMA)\n", "reads 'N/A (no PMA)', which is not a count"),
        ("\n", "reads '', which is not a count"),
        ("-4\n", "reads '-4', which is not a count"),
    ],
)
def test_text_that_is_no_count_is_a_gap_until_it_is_one(
    root: Path, opened: Opened, again: None, text: str, reason: str
) -> None:
    (root / "tx").write_text(text)
    reader = opened([PORT], str(root))
    before = reader.sample()
    assert rate_of(before, reader.sample()).tx.reason == reason
    assert rate_of(before, reader.sample()).rx.value == 0.0
    (root / "tx").write_text("1\n")
    first = reader.sample()
    assert "come back" in rate_of(before, first).tx.reason
    assert rate_of(first, reader.sample()).tx.value == 0.0


def test_text_in_the_place_of_a_count_between_two_samples_is_a_gap(root: Path, opened: Opened) -> None:
    reader = opened([PORT], str(root))
    before = reader.sample()
    (root / "tx").write_text("N/A\n")
    after = reader.sample()
    assert "reads 'N/A'" in rate_of(before, after).tx.reason
    assert rate_of(before, after).rx.value == 0.0


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENODEV, "belongs to a device that is gone"),
        (errno.EINVAL, "is not answered by the device"),
        (errno.EIO, os.strerror(errno.EIO).lower()),
    ],
)
def test_a_device_that_fails_is_a_gap_and_hides_no_other(
    root: Path, opened: Opened, again: None, number: int, reason: str
) -> None:
    pread = Failing()
    reader = opened([PORT], str(root), pread)
    before = reader.sample()
    pread.errors["tx"] = number
    during = reader.sample()
    assert rate_of(before, during).tx.reason == reason
    assert rate_of(before, during).rx.value == 0.0
    pread.errors.clear()
    (root / "tx").write_text("5000\n")
    back = reader.sample()
    assert "come back" in rate_of(before, back).tx.reason, "what was counted in between is not known"
    (root / "tx").write_text("5002\n")
    assert rate_of(back, reader.sample()).tx.value == 4.0


def test_a_file_that_comes_late_is_found(root: Path, opened: Opened, again: None) -> None:
    (root / "tx").unlink()
    reader = opened([PORT], str(root))
    before = reader.sample()
    assert rate_of(before, reader.sample()).tx.reason == "does not exist"
    (root / "tx").write_text("9\n")
    first = reader.sample()
    assert rate_of(first, reader.sample()).tx.value == 0.0


def test_a_pipe_in_the_place_of_a_counter_holds_nobody(root: Path, opened: Opened) -> None:
    (root / "tx").unlink()
    os.mkfifo(root / "tx")
    reader = opened([PORT], str(root))
    before = reader.sample()
    assert rate_of(before, reader.sample()).tx.reason == "is not a plain file"


def test_a_rate_above_the_lines_is_kept_and_noted(root: Path, opened: Opened, again: None) -> None:
    reader = opened([PORT], str(root))
    before = reader.sample()
    (root / "tx").write_text(str(1000 + 50 * 10**9))
    rate = rate_of(before, reader.sample())
    assert rate.tx.value == 100e9
    assert "400 Gb/s" in rate.note and "batches" in rate.note
    (root / "rate").write_text("800 Gb/sec (4X XDR)\n")
    assert rate_of(before, reader.sample()).note == "", "the line rate is read again"
    (root / "rate").unlink()
    assert rate_of(before, reader.sample()).note == "", "and nobody knows it now"


def test_other_counters_tell_by_how_much_they_rose(root: Path, opened: Opened) -> None:
    reader = opened([PORT], str(root))
    before = reader.sample()
    assert rises(before, reader.sample()) == {"mlx5_0:1": {}}
    (root / "errors").write_text("9\n")
    after = reader.sample()
    assert rises(before, after) == {"mlx5_0:1": {"errors": 2}}
    assert rises(after, before) == {"mlx5_0:1": {}}


def test_a_link_without_counters_says_why(opened: Opened, root: Path) -> None:
    sources = CounterSources("", reason="neither the port nor its interface counts bytes")
    reader = opened([CountedLink("siw0:1", sources), PORT], str(root))
    before = reader.sample()
    answer = rates(before, apart(reader.sample(), 1))
    assert answer["siw0:1"].tx.reason == sources.reason
    assert answer["mlx5_0:1"].tx.value == 0.0


def test_a_reader_that_is_closed_has_closed_its_files(root: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    reader = CounterReader([PORT], str(root))
    reader.sample()
    assert len(os.listdir("/proc/self/fd")) > len(before)
    reader.close()
    assert set(os.listdir("/proc/self/fd")) <= before
    assert reader.sample().texts == []


@pytest.mark.parametrize(
    ("driver", "layer", "kind"),
    [
        ("mlx5_core", "InfiniBand", "port counters"),
        ("bnxt_en", "Ethernet", "hw_counters (bnxt_re)"),
        ("efa", "Unknown", "hw_counters (efa)"),
    ],
)
def test_the_sources_of_a_whole_node_are_read(
    tmp_path: Path, opened: Opened, driver: str, layer: str, kind: str
) -> None:
    node = grow_node(tmp_path, gpus=0, nics=3, gids=1, nic_driver=driver, link_layer=layer)
    files = HostFiles(node.root)
    links = [CountedLink(f"{name}:1", counter_sources(files, name, 1, ())) for name in node.nics]
    reader = opened(links, str(node.root))
    before = reader.sample()
    part = links[1].sources.tx[0]
    path = node.root / part.path
    path.write_text(str(int(path.read_text()) + 1000))
    answer = rates(CounterSample(0.0, before.texts, before.frame), _at(1.0, reader.sample()))
    assert [rate.tx.value for rate in answer.values()] == [0.0, 1000.0 * part.factor, 0.0]
    assert all(rate.source == kind for rate in answer.values())


@given(st.lists(st.one_of(st.integers(0, 1 << 64).map(str), st.text(max_size=70)), min_size=1, max_size=5))
def test_whatever_a_file_holds_nothing_is_raised(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    root = tmp_path_factory.mktemp("counters")
    (root / "rx").write_text("1\n")
    (root / "tx").write_text("1\n")
    reader = CounterReader([PORT], str(root))
    try:
        before = reader.sample()
        for text in texts:
            (root / "tx").write_text(text, "utf-8")
            after = reader.sample()
            rate = rate_of(before, after)
            assert rate.tx.known != bool(rate.tx.reason)
            assert rate.tx.otherwise(0.0) >= 0.0
            before = after
    finally:
        reader.close()
