from __future__ import annotations

import time
from collections.abc import Mapping

from pdpanel.nic_probe.counters import LinkRate
from pdpanel.nic_probe.reading import Reading
from pdpanel.panel.proof.nvlink import NvlinkBytes


def rate(tx: float | None, rx: float = 0.0) -> LinkRate:
    sent = Reading[float].unreadable("NVML", "says not supported") if tx is None else Reading(tx, "NVML")
    return LinkRate(sent, Reading(rx, "NVML"), "NVML")


def test_rates_become_bytes_and_pcie_is_left_out() -> None:
    counted = NvlinkBytes({})
    counted.take({"nvlink A": rate(None), "pcie A": rate(9.0)}, 0.5)
    counted.take({"nvlink A": rate(100.0, 40.0)}, 0.5)
    counted.take({"nvlink A": rate(200.0, 20.0)}, 2.0)
    found = counted.read()
    assert set(found) == {"nvlink/A"}
    assert found["nvlink/A"].total == (450.0, 60.0)


def test_a_gpu_that_was_not_counted_once_is_not_known() -> None:
    counted = NvlinkBytes({})
    for value in (1.0, None, 5.0):
        counted.take({"nvlink A": rate(value)}, 1.0)
    assert counted.read()["nvlink/A"].total is None
    assert counted.read()["nvlink/A"].reason


class Ending:
    def __init__(self) -> None:
        self.reads = 0
        self.closed = False

    def read(self, within_s: float) -> Mapping[str, LinkRate]:
        self.reads += 1
        if self.reads > 3:
            raise EOFError
        return {"nvlink A": rate(10.0)}

    def close(self) -> None:
        self.closed = True


def test_a_driver_that_ends_leaves_what_it_said() -> None:
    traffic = Ending()
    ticks = iter(range(100))
    counted = NvlinkBytes({}, lambda environ: traffic, lambda: float(next(ticks)))
    counted.start()
    deadline = time.monotonic() + 20
    while not traffic.closed:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert counted.read()["nvlink/A"].total == (20.0, 0.0)
