"""Clock, governor, stolen time and hypervisor, from files as the kernel writes them."""

from __future__ import annotations

import pytest
from pdpanel.nic_probe.sources.files import HostFiles
from pdpanel.nic_probe.sources.memory import MemoryTree
from pdpanel.nic_probe.state.facts import Facts
from pdpanel.nic_probe.state.machine import Machine, probe_machine

_DMI = "sys/class/dmi/id"


def _probe(files: dict[str, str], **facts: object) -> Machine:
    return probe_machine(HostFiles(MemoryTree({path: text.encode() for path, text in files.items()})), Facts(facts))


def test_the_clock_by_fact_and_by_the_mark_of_systemd() -> None:
    assert _probe({}, clock={"synchronised": False}).clock_synchronised.value is False
    assert _probe({"run/systemd/timesync/synchronized": ""}).clock_synchronised.value is True
    assert _probe({}).clock_synchronised.value is None
    assert _probe({}, clock=[1]).clock_synchronised.value is None


@pytest.mark.parametrize(
    ("line", "share"),
    [
        ("cpu  5000 0 0 4000 0 0 0 1000 0 0", 0.1),
        ("cpu  50 0 0 40 0 0 0 10 0 0", 0.0),
        ("cpu  5000 0 0", None),
        ("cpu  a b c d e f g h", None),
        ("intr 1", None),
    ],
)
def test_the_share_of_stolen_time(line: str, share: float | None) -> None:
    assert _probe({"proc/stat": f"{line}\nbtime 1"}).steal_share.value == share


@pytest.mark.parametrize(
    ("vendor", "product", "name"),
    [
        ("QEMU", "Standard PC (Q35 + ICH9, 2009)", "QEMU Standard PC (Q35 + ICH9, 2009)"),
        ("Microsoft Corporation", "Virtual Machine", "Microsoft Corporation Virtual Machine"),
        ("Amazon EC2", "p5.48xlarge", "Amazon EC2 p5.48xlarge"),
        ("Amazon EC2", "c5.metal", ""),
        ("Dell Inc.", "PowerEdge XE9680", ""),
    ],
)
def test_the_firmware_names_a_hypervisor(vendor: str, product: str, name: str) -> None:
    files = {f"{_DMI}/sys_vendor": vendor, f"{_DMI}/product_name": product}
    assert _probe(files).hypervisor.value == name


@pytest.mark.parametrize(
    ("flags", "name"),
    [("flags\t\t: fpu hypervisor sse\n", "unnamed"), ("flags\t: fpu\n", ""), ("Features: asimd\n", None)],
)
def test_without_firmware_the_processors_tell(flags: str, name: str | None) -> None:
    assert _probe({"proc/cpuinfo": f"processor\t: 0\n{flags}"}).hypervisor.value == name
    assert _probe({}).hypervisor.value is None


def test_the_governor_of_the_first_cpu() -> None:
    machine = _probe({"sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave\n"})
    assert (machine.governor.value, machine.frequency_driver.value) == ("powersave", None)
