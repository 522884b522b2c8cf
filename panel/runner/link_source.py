"""The NICs and interfaces of the host as sources of samples: which ones a run needs, and what they carry.

Enumerates by names alone, which no driver answers for; line rates are asked with patience, since a driver may hang.
What a link counts is the business of `nic_probe`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from ...nic_probe.counters_by_device import CountedDevice, counted_devices
from ...nic_probe.device_counters import DeviceCounters
from ...nic_probe.patience import answers_within
from ...nic_probe.sources.files import HostFiles
from ..launch import LaunchPlan
from .series import LinkLimit

__all__ = ["LinkSource", "link_limits", "wanted_links"]

_PERIOD_S: Final = 0.5
_GBPS: Final = 125e6
_MBPS: Final = 125e3
_RATE: Final = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?) Gb/sec")
_PATIENCE_S: Final = 1.0
# More than 32 interfaces are those of containers, which nobody plots.
_MOST_NETDEVS: Final = 32


class LinkSource:
    """The links of one device that a run is interested in.

    Args:
        device: whose.
        links: their keys, such as `nic/mlx5_0:1` and `netdev/eth0`.
        files: the live host.
        root: the folder that stands for `/` to the reader.
    """

    def __init__(self, device: CountedDevice, links: Sequence[str], files: HostFiles, root: str = "/") -> None:
        self._counters = DeviceCounters(device, files, root, _PERIOD_S)
        self.name = f"links of {device.name}"
        self._wanted = {key.partition("/")[2]: key for key in links}

    @property
    def period_s(self) -> float:
        """How often it is read: as often as the device refreshes its counters."""
        return self._counters.period_s

    def read(self) -> Mapping[str, float]:
        """Returns bytes per second, sent and received."""
        values: dict[str, float] = {}
        for name, rate in (self._counters.read() or {}).items():
            key = self._wanted.get(name)
            if key is None:
                continue
            for way, reading in (("tx", rate.tx), ("rx", rate.rx)):
                if reading.value is not None:
                    values[f"{key}/{way}_bytes_per_s"] = reading.value
        return values

    def close(self) -> None:
        """Closes the files."""
        self._counters.close()


def wanted_links(plan: LaunchPlan, files: HostFiles) -> list[tuple[CountedDevice, tuple[str, ...]]]:
    """Returns the devices of this host that a run of `plan` is interested in, each with the keys of its links.

    RDMA ports are those of the plan's NICs, or all that are active when it names none that this host has; interfaces
    are the loopback, those of the chosen NICs, and those that are up.
    """
    devices = counted_devices(files)
    here = {name for device in devices for name, _ in device.ports}
    named = {nic.partition(":")[0] for spec in plan.processes for nic in spec.nics} & here
    found: list[tuple[CountedDevice, tuple[str, ...]]] = []
    netdevs = 0
    for device in devices:
        ports = [(name, port) for name, port in device.ports if name in named or not named]
        keys = [f"nic/{name}:{port}" for name, port in ports if named or _is_active(files, name, port)]
        for name in device.netdevs:
            if netdevs < _MOST_NETDEVS and (name == "lo" or keys or _is_up(files, name)):
                netdevs += 1
                keys.append(f"netdev/{name}")
        if keys:
            found.append((device, tuple(keys)))
    return found


def link_limits(keys: Iterable[str], files: HostFiles) -> list[LinkLimit]:
    """Returns the links with their line rates, as far as their drivers answer in time."""
    every = list(keys)
    rates = answers_within(_PATIENCE_S, [lambda key=key: (_line_rate(files, key),) for key in every])
    return [LinkLimit(key, rate[0] if rate else None) for key, rate in zip(every, rates, strict=True)]


def _line_rate(files: HostFiles, key: str) -> float | None:
    kind, _, name = key.partition("/")
    if kind == "nic":
        device, _, port = name.rpartition(":")
        match = _RATE.match(files.text(f"sys/class/infiniband/{device}/ports/{port}/rate").otherwise(""))
        return float(match[1]) * _GBPS if match else None
    speed = files.integer(f"sys/class/net/{name}/speed").otherwise(-1)
    return speed * _MBPS if speed > 0 else None


def _is_active(files: HostFiles, device: str, port: int) -> bool:
    return files.text(f"sys/class/infiniband/{device}/ports/{port}/state").otherwise("").strip().endswith("ACTIVE")


def _is_up(files: HostFiles, name: str) -> bool:
    return files.text(f"sys/class/net/{name}/operstate").otherwise("").strip() == "up"
