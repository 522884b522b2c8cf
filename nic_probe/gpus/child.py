"""The process that asks the GPU libraries: `python -m pdpanel.nic_probe.gpus.child SECONDS`.

Each library is asked in a fork of its own, so one that hangs, crashes or prints takes nothing else with it.
Whatever libraries print goes to /dev/null; what was learned is one JSON document on the real stdout when all have
answered or the seconds have passed: `{"libraries": {"NVML": {"reason"?, "driver_version", "runtime_version",
"count", "notes": [...], "gpus": [...]}, ...}}`. Started by `libraries`; imports no more than it needs.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

__all__ = ["ask_libraries", "main", "needs_torch"]

Reader = Callable[[], Iterator[dict[str, Any]]]

_FIRST = {"NVML": "nvml.read_nvml", "AMD SMI": "amd.read_amd", "npu-smi": "ascend.read_ascend"}
_LAST = {"torch": "torch_cuda.read_torch"}
_ACCELERATORS = ("nvidia", "kfd", "davinci", "dxg")
# How long a process that closed its pipe may take until its exit status is there.
_EXIT_S = 0.2


class _Asked:
    """One library that is being asked; no dataclass, whose import would take longer than everything else here."""

    __slots__ = ("ended", "pid", "pipe", "said")

    def __init__(self, pid: int, pipe: int) -> None:
        self.pid = pid
        self.pipe = pipe
        self.said = bytearray()
        self.ended = False


def main(seconds: float) -> None:
    """Prints the document within `seconds` and ends the process, with every fork that still hangs."""
    deadline = time.monotonic() + seconds
    try:
        os.setpgid(0, 0)
    except PermissionError:
        pass  # It leads a session already.
    stdout = os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    libraries, hanging = ask_libraries(_FIRST, deadline, stdout)
    if needs_torch(libraries, _devices()) and _installed("torch"):
        more, hangs = ask_libraries(_LAST, deadline, stdout)
        libraries |= more
        hanging |= hangs
    document = memoryview(json.dumps({"libraries": libraries}).encode())
    while document:
        document = document[os.write(stdout, document) :]
    if hanging:
        os.killpg(0, signal.SIGKILL)  # Itself too; the document has been written.
    os._exit(0)


def needs_torch(libraries: dict[str, Any], devices: list[str]) -> bool:
    """Returns whether nothing has described a GPU although the names in /dev say that there is one."""
    return not any(answer["gpus"] for answer in libraries.values()) and any(
        name.startswith(_ACCELERATORS) for name in devices
    )


def ask_libraries(readers: dict[str, str], deadline: float, stdout: int) -> tuple[dict[str, Any], bool]:
    """Returns what each library said until `deadline` on the monotonic clock, and whether one still hangs.

    Args:
        readers: `module.function` of this package for each library's name.
        stdout: a descriptor that no library may hold.
    """
    started = time.monotonic()
    asked = {name: _start(where, stdout) for name, where in readers.items()}
    poll = select.poll()
    pipes = {one.pipe: one for one in asked.values()}
    for pipe in pipes:
        poll.register(pipe, select.POLLIN)
    while pipes and (left := deadline - time.monotonic()) > 0:
        for pipe, _ in poll.poll(left * 1e3):
            part = os.read(pipe, 1 << 16)
            pipes[pipe].said += part
            if not part:
                poll.unregister(pipe)
                pipes.pop(pipe).ended = True
    waited = f"{deadline - started:.1f} s"
    return {name: _answer(name, one, waited) for name, one in asked.items()}, bool(pipes)


def _start(where: str, stdout: int) -> _Asked:
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid:
        os.close(write_end)
        return _Asked(pid, read_end)
    try:
        os.close(stdout)
        os.close(read_end)
        _no_core()
        module, _, function = where.partition(".")
        reader: Reader = getattr(import_module(f".{module}", __package__), function)
        for piece in reader():
            _say(write_end, piece)
        _say(write_end, {"done": True})
    except BaseException as error:
        _say(write_end, {"done": True, "reason": f"cannot be asked: {type(error).__name__} {str(error)[:200]}"})
    finally:
        os._exit(0)


def _no_core() -> None:
    # The probe writes nothing to the host. A limit of 1 also keeps the kernel from piping a core to a program.
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (min(1, hard) if hard >= 0 else 1, hard))


def _say(pipe: int, piece: dict[str, Any]) -> None:
    line = memoryview(json.dumps(piece).encode() + b"\n")
    while line:
        line = line[os.write(pipe, line) :]


def _answer(name: str, asked: _Asked, waited: str) -> dict[str, Any]:
    answer: dict[str, Any] = {"reason": "", "notes": [], "gpus": []}
    done = False
    for line in bytes(asked.said).split(b"\n")[:-1]:
        piece = json.loads(line)
        done = done or bool(piece.pop("done", False))
        if "gpu" in piece:
            answer["gpus"].append(piece["gpu"])
        elif "note" in piece:
            answer["notes"].append(piece["note"])
        else:
            answer |= piece
    if done:
        return answer
    problem = _end_of(asked.pid) if asked.ended else f"did not answer within {waited}"
    if answer["gpus"]:
        described = f"{name} described {len(answer['gpus'])} GPUs of {answer['count'].get('value', 'several')}"
        answer["notes"].append(f"{described} and then {problem}; without persistence mode a GPU wakes up slowly.")
    else:
        answer["reason"] = problem
    return answer


def _end_of(pid: int) -> str:
    until = time.monotonic() + _EXIT_S
    while time.monotonic() < until:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            ending = f"with signal {signal.Signals(-code).name}" if code < 0 else f"with status {code}"
            return f"ended the process that asked it {ending}"
        time.sleep(0.002)
    return "ended the process that asked it"


def _installed(name: str) -> bool:
    from importlib.util import find_spec  # Seldom needed.

    return find_spec(name) is not None


def _devices() -> list[str]:
    try:
        return os.listdir("/dev")
    except OSError:
        return []


if __name__ == "__main__":
    main(float(sys.argv[1]))
