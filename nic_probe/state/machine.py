"""The machine below the kernel: clock, CPU frequency, time stolen by a hypervisor, the hypervisor itself.

Called by `host_state`.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..reading import Reading
from ..sources.files import HostFiles
from .facts import Facts, as_bool, as_mapping

__all__ = ["Machine", "probe_machine"]

_HYPERVISORS = ("kvm", "qemu", "vmware", "virtualbox", "xen", "hyper-v", "virtual machine", "bochs", "openstack")
_HYPERVISORS += ("amazon ec2", "google compute engine", "firecracker", "cloud")
# A host that never saw this many ticks has just started, and says nothing yet.
_MIN_TICKS = 10_000


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine.

    Attributes:
        clock_synchronised: somebody keeps the clock in step.
        governor: the frequency governor of the first CPU.
        frequency_driver: the driver below it; some choose their own way under `powersave`.
        steal_share: part of the time since boot, 0 to 1, that other guests had.
        hypervisor: its name; empty on bare metal; unreadable when nothing tells.
    """

    clock_synchronised: Reading[bool]
    governor: Reading[str]
    frequency_driver: Reading[str]
    steal_share: Reading[float]
    hypervisor: Reading[str]


def probe_machine(files: HostFiles, facts: Facts) -> Machine:
    """Returns what is known of the machine."""
    frequency = "sys/devices/system/cpu/cpu0/cpufreq"
    return Machine(
        clock_synchronised=_clock(files, facts),
        governor=files.text(f"{frequency}/scaling_governor"),
        frequency_driver=files.text(f"{frequency}/scaling_driver"),
        steal_share=files.text("proc/stat").convert(_steal, "times of the CPUs"),
        hypervisor=_hypervisor(files),
    )


def _clock(files: HostFiles, facts: Facts) -> Reading[bool]:
    def synchronised(value: object) -> bool | None:
        clock = as_mapping(value)
        return None if clock is None else as_bool(clock.get("synchronised"))

    said = facts.read("clock", synchronised, "the state of a clock")
    if said.known:
        return said
    # systemd-timesyncd touches this file once it has reached a server.
    mark = "run/systemd/timesync/synchronized"
    return Reading(True, "/" + mark) if files.exists(mark) else said


def _steal(stat: str) -> float | None:
    words = stat.split("\n", 1)[0].split()
    if words[:1] != ["cpu"] or len(words) < 9:
        return None
    # user nice system idle iowait irq softirq steal; guests' time is in user already.
    times = [int(word) for word in words[1:9]]
    total = sum(times)
    return times[7] / total if total >= _MIN_TICKS else 0.0


def _hypervisor(files: HostFiles) -> Reading[str]:
    folder = "sys/class/dmi/id"
    vendor, product = files.text(f"{folder}/sys_vendor"), files.text(f"{folder}/product_name")
    name = " ".join(text for text in (vendor.value, product.value) if text)
    if name:
        guest = any(known in name.lower() for known in _HYPERVISORS) and "metal" not in name.lower()
        return Reading(name if guest else "", vendor.source)
    # Slow on a host of many CPUs, so it is asked only where the firmware says nothing.
    processors = files.text("proc/cpuinfo")
    flags = next((line for line in processors.otherwise("").splitlines() if line.startswith("flags")), "")
    if not flags:
        return Reading.unreadable(processors.source, processors.reason or "has no flags that would tell")
    return Reading("unnamed" if "hypervisor" in flags.split() else "", processors.source)
