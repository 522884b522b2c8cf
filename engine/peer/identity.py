"""Which process a peer is, and whether that process is gone for sure.

Only trusted between processes of the same boot and pid namespace, where a pid and its start time name one process and
/proc can be asked. Everywhere else nothing is known, which is an answer, too.
"""

from __future__ import annotations

import os
from pathlib import Path

from .messages import ProcessId

__all__ = ["is_gone", "own_process"]

# Fields of /proc/PID/stat behind the command's closing bracket, counted from 0 (man 5 proc_pid_stat).
_STATE, _THREADS, _STARTED = 0, 17, 19


def _stat(proc: Path, pid: int | str) -> list[str]:
    return (proc / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()


def own_process(proc: Path = Path("/proc")) -> ProcessId | None:
    """Returns this process's identity, or None where the kernel does not tell."""
    try:
        boot = (proc / "sys/kernel/random/boot_id").read_text().strip()
        namespace = (proc / "self/ns/pid").stat().st_ino
        return ProcessId(boot, namespace, os.getpid(), int(_stat(proc, "self")[_STARTED]))
    except (OSError, ValueError, IndexError):
        return None


def is_gone(process: ProcessId, ours: ProcessId | None, proc: Path = Path("/proc")) -> bool:
    """Returns True when the process has provably ended; False when it lives or nothing is known.

    Args:
        ours: this process's identity.
    """
    if ours is None or (process.boot, process.namespace) != (ours.boot, ours.namespace):
        return False
    try:
        stat = _stat(proc, process.pid)
        # A zombie that nobody has waited for yet is over once its last thread is.
        ended = stat[_STATE] in "ZX" and int(stat[_THREADS]) <= 1
        return ended or int(stat[_STARTED]) != process.started
    except FileNotFoundError:
        return True
    except ProcessLookupError:  # it went while its file was read
        return True
    except (OSError, ValueError, IndexError):
        return False
