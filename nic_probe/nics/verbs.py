"""What libibverbs says of the RDMA devices of a live host, through pyverbs where that is installed.

sysfs has no active MTU, and it does not show that a device's user library is missing. pyverbs runs in a child
process (`verbs_child`), which is left behind when a driver hangs. Called by `sysfs`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

__all__ = ["VerbsDevice", "VerbsPort", "VerbsQuestion", "find_pyverbs"]

# Where Debian's python3-pyverbs lies, which another Python of the same version does not search.
_SYSTEM_PACKAGES: Final = "/usr/lib/python3/dist-packages"


@dataclass(frozen=True, slots=True)
class VerbsPort:
    """What `ibv_query_port` said.

    Attributes:
        active_mtu: bytes; None for a number that stands for no MTU.
        gid_table_length: entries.
    """

    active_mtu: int | None
    gid_table_length: int


@dataclass(frozen=True, slots=True)
class VerbsDevice:
    """What libibverbs said of one device.

    Attributes:
        listed: False when it does not know the device, which the kernel has.
        error: why the device could not be opened or asked; empty when it was.
        ports: by number.
    """

    listed: bool
    error: str
    ports: Mapping[int, VerbsPort] = field(default_factory=dict)


def find_pyverbs() -> tuple[str, ...]:
    """Returns the folders in which a child process finds pyverbs; none where it is not installed."""
    try:
        installed = importlib.util.find_spec("pyverbs") is not None
    except (ImportError, ValueError):
        installed = False
    if installed:
        return tuple(sys.path)
    return (*sys.path, _SYSTEM_PACKAGES) if os.path.isdir(f"{_SYSTEM_PACKAGES}/pyverbs") else ()


class VerbsQuestion:
    """One question to libibverbs, which is answered while the caller reads on.

    Args:
        devices: how many ports each device has; nobody is asked without devices or without pyverbs.
        environ: the environment in which libraries are looked for.
        folders: where pyverbs lies, as `find_pyverbs` returns it.
    """

    def __init__(self, devices: Mapping[str, int], environ: Mapping[str, str], folders: tuple[str, ...]) -> None:
        self._devices = devices
        self._lines: list[str] = []
        self._reader: threading.Thread | None = None
        self.problem = "" if folders else "pyverbs is not installed"
        if not devices or not folders or not sys.executable:
            return
        child = Path(__file__).with_name("verbs_child.py")
        question = json.dumps({"path": list(folders), "devices": dict(devices)})
        try:
            # Isolated and without site: the folders are handed over, and starting takes half the time.
            self._child = subprocess.Popen(
                [sys.executable, "-I", "-S", str(child), question],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=dict(environ),
                text=True,
            )
        except (OSError, ValueError) as error:
            self.problem = f"pyverbs could not be started: {error}"
            return
        self._reader = threading.Thread(target=self._read, name="verbs-reader", daemon=True)
        self._reader.start()

    def answers(self, limit_s: float) -> dict[str, VerbsDevice]:
        """Returns what was answered within `limit_s` seconds from now, by device.

        Afterwards `problem` says what kept libibverbs from answering for all the others; empty when nothing did.
        """
        if self._reader is None:
            return {}
        deadline = time.monotonic() + limit_s
        self._reader.join(limit_s)
        if self._reader.is_alive():
            self.problem = f"libibverbs did not answer within {limit_s:.1f} s"
            self._child.kill()
            self._reader.join(max(0.1, deadline - time.monotonic()))
        found: dict[str, VerbsDevice] = {}
        for line in tuple(self._lines):
            answer = _parsed(line)
            name = answer.get("device")
            if isinstance(name, str) and name in self._devices:
                found[name] = _verbs_device(answer)
            elif answer.get("error"):
                self.problem = f"pyverbs says: {answer['error']}"
        if not found and not self.problem:
            self.problem = "pyverbs ended without an answer"
        return found

    def _read(self) -> None:
        assert self._child.stdout is not None
        with self._child.stdout as answers:
            for line in answers:
                self._lines.append(line)
        self._child.wait()


def _parsed(line: str) -> dict[str, Any]:
    try:
        answer = json.loads(line)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _verbs_device(answer: Mapping[str, Any]) -> VerbsDevice:
    ports: dict[int, VerbsPort] = {}
    for number, port in answer["ports"].items():
        # enum ibv_mtu counts from 1 for 256 bytes to 5 for 4096.
        mtu = port["active_mtu"]
        ports[int(number)] = VerbsPort(128 << mtu if 1 <= mtu <= 5 else None, port["gid_tbl_len"])
    return VerbsDevice(bool(answer["listed"]), str(answer["error"]), ports)
