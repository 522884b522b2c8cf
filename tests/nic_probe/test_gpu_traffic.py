"""NVLink and PCIe traffic: the arithmetic against a fake of the module pynvml, the rest through the real one.

The fakes stand where NVML itself would: a module with the functions that are called, and a library that the test
compiles and that the real binding loads.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pdpanel.nic_probe.counters import LinkRate
from pdpanel.nic_probe.gpu_traffic import GpuTraffic, NvmlTraffic

PCI = "0000:18:00.0"


class NvmlError(Exception):
    pass


class FakeNvml:
    """One GPU; `fields` holds the counts by field and link, None for what the driver does not support."""

    NVMLError = NvmlError

    def __init__(self, links: int = 2) -> None:
        self.links = links
        self.up = True
        self.fields: dict[tuple[int, int | None], int | None] = {}
        self.asked: list[Any] = []
        self.throughput: int | None = 5

    def nvmlDeviceGetCount(self) -> int:
        return 1

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetPciInfo(self, handle: int) -> SimpleNamespace:
        return SimpleNamespace(busId=b"00000000:18:00.0")

    def nvmlDeviceGetNvLinkState(self, handle: int, link: int) -> int:
        if link >= self.links:
            raise NvmlError("Not Supported")
        return int(self.up)

    def nvmlDeviceGetPcieThroughput(self, handle: int, direction: int) -> int:
        self.asked.append("throughput")
        if self.throughput is None:
            raise NvmlError("Not Supported")
        return self.throughput + direction

    def nvmlDeviceGetFieldValues(self, handle: int, fields: list[Any]) -> list[SimpleNamespace]:
        self.asked += fields
        return [self._value(field if isinstance(field, tuple) else (field, None)) for field in fields]

    def _value(self, key: tuple[int, int | None]) -> SimpleNamespace:
        count = self.fields.get(key)
        value = SimpleNamespace(ullVal=count, uiVal=0, ulVal=0)
        return SimpleNamespace(nvmlReturn=3 if count is None else 0, valueType=3, value=value)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def both(nvml: FakeNvml, change: Callable[[], None], seconds: float = 2.0) -> Mapping[str, LinkRate]:
    """Returns what a second look says, after the change."""
    clock = Clock()
    traffic = NvmlTraffic(nvml, clock)
    first = traffic.links()
    assert not any(link.tx.known for key, link in first.items() if key.startswith("nvlink"))
    change()
    clock.now += seconds
    return traffic.links()


def test_a_count_of_the_whole_gpu_is_not_added_up() -> None:
    nvml = FakeNvml()
    nvml.fields = {(field, link): 1000 for field in (138, 139) for link in (None, 0, 1)}
    link = both(nvml, lambda: nvml.fields.update({(field, n): 3000 for field in (138, 139) for n in (None, 0, 1)}))
    assert link[f"nvlink {PCI}"].tx.value == 1000 * 1024
    assert link[f"nvlink {PCI}"].source == "NVML, all NVLinks"


def test_counts_that_differ_by_link_are_added_up() -> None:
    nvml = FakeNvml()
    nvml.fields = {(138, None): 9, (138, 0): 10, (138, 1): 30, (139, None): 9, (139, 0): 5, (139, 1): 6}
    link = both(nvml, lambda: nvml.fields.update({(138, 0): 110, (138, 1): 130, (139, 1): 7}))[f"nvlink {PCI}"]
    assert (link.tx.value, link.rx.value) == (100 * 1024, 512)
    assert link.source == "NVML, sum of its NVLinks"


def test_links_that_have_carried_nothing_yet_do_not_decide() -> None:
    nvml = FakeNvml()
    nvml.fields = {(field, link): 0 for field in (138, 139) for link in (None, 0, 1)}
    both(nvml, lambda: None)
    clock = Clock()
    traffic = NvmlTraffic(nvml, clock)
    traffic.links()
    nvml.fields |= {(138, 0): 10, (138, 1): 20}
    traffic.links()
    nvml.fields |= {(138, 0): 11, (138, 1): 21}
    clock.now += 1
    assert traffic.links()[f"nvlink {PCI}"].tx.value == 2 * 1024


def test_a_count_that_goes_backwards_is_a_gap_and_the_next_is_not() -> None:
    nvml = FakeNvml(links=1)
    nvml.fields = {(138, None): 1000, (139, None): 1000}
    clock = Clock()
    traffic = NvmlTraffic(nvml, clock)
    traffic.links()
    nvml.fields = {(138, None): 10, (139, None): 1000}
    clock.now += 1
    assert "backwards" in traffic.links()[f"nvlink {PCI}"].tx.reason
    nvml.fields[138, None] = 11
    clock.now += 1
    assert traffic.links()[f"nvlink {PCI}"].tx.value == 1024


def test_what_the_driver_does_not_count_has_its_words() -> None:
    link = both(FakeNvml(), lambda: None)[f"nvlink {PCI}"]
    assert link.tx.value is None and link.tx.reason.startswith("says ")


def test_a_gpu_without_nvlink_has_no_such_link_and_one_that_is_down_says_so() -> None:
    assert list(both(FakeNvml(links=0), lambda: None)) == [f"pcie {PCI}"]
    nvml = FakeNvml()
    nvml.up = False
    assert both(nvml, lambda: None)[f"nvlink {PCI}"].tx.reason == "no NVLink is up"


def test_counters_of_pcie_are_preferred() -> None:
    nvml = FakeNvml(links=0)
    nvml.fields = {(197, None): 100, (198, None): 200}
    link = both(nvml, lambda: nvml.fields.update({(197, None): 300}))[f"pcie {PCI}"]
    assert (link.tx.value, link.rx.value) == (100.0, 0.0)
    assert "throughput" not in nvml.asked


def test_without_them_pcie_is_measured_once_in_a_second() -> None:
    nvml = FakeNvml(links=0)
    clock = Clock()
    traffic = NvmlTraffic(nvml, clock)
    for _ in range(4):
        traffic.links()
        clock.now += 0.25
    link = traffic.links()[f"pcie {PCI}"]
    assert (link.tx.value, link.rx.value) == (5000.0, 6000.0)
    assert nvml.asked.count("throughput") == 4, "two directions, twice"
    nvml.throughput = None
    clock.now += 1
    assert traffic.links()[f"pcie {PCI}"].tx.reason == "says Not Supported"


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the folder of a libnvidia-ml.so.1 made of fake_traffic.c."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler to build a fake libnvidia-ml.so.1 with")
    folder = tmp_path_factory.mktemp("nvml")
    source = Path(__file__).with_name("fake_traffic.c")
    options = ["-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-Wl,-soname,libnvidia-ml.so.1"]
    subprocess.run([compiler, *options, "-o", folder / "libnvidia-ml.so.1", source], check=True, timeout=50)
    return folder


def ask(library: Path, mode: str, done: Callable[[dict[str, LinkRate]], bool]) -> dict[str, LinkRate]:
    """Returns the first answer of the real process that is as wanted."""
    traffic = GpuTraffic({"LD_LIBRARY_PATH": str(library), "FAKE_TRAFFIC": mode}, beat_s=0.01)
    try:
        deadline = time.monotonic() + 50
        while time.monotonic() < deadline:
            links = traffic.read(1.0)
            if links and done(links):
                return links
        raise AssertionError("the answer did not come")
    finally:
        traffic.close()


def known(links: dict[str, LinkRate]) -> bool:
    return links[f"nvlink {PCI}"].tx.known


@pytest.mark.parametrize(("mode", "source"), [("", "NVML, all NVLinks"), ("links", "NVML, sum of its NVLinks")])
def test_the_real_binding_reads_the_fields(library: Path, mode: str, source: str) -> None:
    links = ask(library, mode, known)
    assert sorted(links) == [f"nvlink {PCI}", f"pcie {PCI}", "pcie 0000:2a:00.0"]
    assert links[f"nvlink {PCI}"].source == source
    assert links[f"pcie {PCI}"].tx.value == 2e6
    assert "Not Supported" in links["pcie 0000:2a:00.0"].tx.reason


def test_an_old_driver_counts_nothing_and_says_so(library: Path) -> None:
    links = ask(library, "old", bool)
    assert "Not Supported" in links[f"nvlink {PCI}"].tx.reason
    assert links[f"pcie {PCI}"].rx.value == 3e6


@pytest.mark.parametrize("mode", ["none", "no library"])
def test_without_a_gpu_the_process_ends(library: Path, tmp_path: Path, mode: str) -> None:
    folder = tmp_path if mode == "no library" else library
    traffic = GpuTraffic({"LD_LIBRARY_PATH": str(folder), "FAKE_TRAFFIC": mode})
    with pytest.raises(EOFError):
        for _ in range(50):
            traffic.read(1.0)
    traffic.close()


def test_a_process_that_says_nothing_is_no_answer_and_can_be_left(tmp_path: Path) -> None:
    """A python that sleeps in the place of NVML: sitecustomize is imported before anything else."""
    (tmp_path / "sitecustomize.py").write_text("import time\ntime.sleep(600)\n")
    traffic = GpuTraffic({"PYTHONPATH": str(tmp_path), "PATH": os.defpath})
    assert traffic.read(0.05) is None
    traffic.close()
    with pytest.raises(EOFError):
        traffic.read(0.05)


def test_it_ends_when_nobody_reads_any_more(library: Path) -> None:
    command = [sys.executable, "-m", "pdpanel.nic_probe.gpu_traffic", "0.01"]
    environ = {"LD_LIBRARY_PATH": str(library)}
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"{")
        process.stdout.close()
        assert process.wait(50) == 0
