"""Why a process ended, from its exit code or signal and the end of its log. Called by whoever watches processes."""

from __future__ import annotations

import signal
from collections.abc import Iterable

from ...nic_probe.checks.check import Rule
from ...nic_probe.finding import Evidence, Finding, Severity
from .log import explain_log

__all__ = ["RULES", "explain_process_exit"]

_REFERENCE = ("signal(7)", "bash(1): exit status")
_KILLED = Rule(
    "exit-killed",
    "A process was killed (SIGKILL, 137)",
    "SIGKILL comes from the kernel when memory runs out, from a cgroup's limit (a container's or a job's), or from "
    "whoever stops what did not stop in time. The process can write nothing about it.",
    _REFERENCE,
)
_CRASHED = Rule(
    "exit-crashed",
    "A process crashed in native code (SIGSEGV 139, SIGBUS 135, SIGILL 132, SIGFPE 136)",
    "Native code touched memory that it may not. Two builds of one library, a transport library that does not fit "
    "the driver, a full /dev/shm (SIGBUS) or a CPU without the instructions of a wheel (SIGILL) are the usual causes. "
    "NIXL crashes when its interpreter ends, after everything was done.",
    (*_REFERENCE, "measured with NIXL 1.5.1", "kvcache-ai/Mooncake#1267"),
)
_ABORTED = Rule(
    "exit-aborted",
    "A process gave itself up (SIGABRT, 134)",
    "A C++ library met something that it cannot go on with. Mooncake does so for a metadata server of a kind that "
    "its build lacks, such as redis://.",
    (*_REFERENCE, "measured with Mooncake 0.3.13"),
)
_STOPPED = Rule(
    "exit-stopped",
    "A process was told to stop (SIGTERM 143, SIGINT 130, SIGHUP 129)",
    "Somebody or something ended it: a person, the panel, a job scheduler at its time limit, a node that shuts down, "
    "or a terminal that closed.",
    _REFERENCE,
)
_NOT_STARTED = Rule(
    "exit-not-started",
    "A command could not be started (126, 127)",
    "The shell did not find the program, or may not execute it.",
    _REFERENCE,
)
_REFUSED = Rule(
    "exit-refused",
    "A program refused its command line (2)",
    "Python programs end with 2 when a flag is unknown or a value cannot be used; the last lines say which.",
    _REFERENCE,
)
_FAILED = Rule(
    "exit-failed",
    "A process failed",
    "The program ended by itself with an error. Its log says why, most often in its last traceback.",
    _REFERENCE,
)
RULES = (_KILLED, _CRASHED, _ABORTED, _STOPPED, _NOT_STARTED, _REFUSED, _FAILED)

_BY_SIGNAL = {
    "SIGKILL": (
        _KILLED,
        "It was killed from outside; most often memory ran out.",
        "See dmesg | grep -i -E 'oom|killed process' and the container's memory limit; lower the KV pool.",
    ),
    "SIGSEGV": (
        _CRASHED,
        "It crashed in native code, most often in a transport or GPU library.",
        "Compare the versions of Mooncake, the driver and torch with a host where it works; try transport tcp.",
    ),
    "SIGBUS": (
        _CRASHED,
        "It touched memory that has no file behind it, most often because /dev/shm or a disk is full.",
        "See df -h /dev/shm; start the container with --shm-size 32g or --ipc host.",
    ),
    "SIGILL": (
        _CRASHED,
        "The CPU does not know an instruction of a library.",
        "Install a build for this CPU; wheels often need AVX2 or AVX-512.",
    ),
    "SIGFPE": (_CRASHED, "It divided by zero in native code.", "Read the frames in its log."),
    "SIGABRT": (
        _ABORTED,
        "A native library gave up.",
        "Read the last lines that Mooncake, NCCL or libstdc++ wrote.",
    ),
    "SIGTERM": (_STOPPED, "It was told to stop.", ""),
    "SIGINT": (_STOPPED, "It was interrupted from its terminal or by the panel.", ""),
    "SIGHUP": (
        _STOPPED,
        "Its terminal or its job ended.",
        "Start it in a session of its own: setsid, systemd-run, or the panel.",
    ),
}
_BY_CODE = {
    2: (_REFUSED, "It refused its command line.", "Correct the flag that the last lines name."),
    126: (_NOT_STARTED, "The program may not be executed.", "Check its rights and its first line."),
    127: (_NOT_STARTED, "The program was not found.", "Install it, or name it with its path."),
}


def explain_process_exit(
    code: int, log_tail: Iterable[str] | Iterable[bytes] = (), source: str = "the process"
) -> tuple[Finding, ...]:
    """Returns why a process ended, and then what the end of its log says; nothing for exit code 0.

    Args:
        code: the exit code; below 0 the signal that ended it, as Python's subprocess has it, and above 128 what
            a shell makes of that signal.
        log_tail: the last lines of its log.
        source: the process's name, as evidence shows it.
    """
    if code == 0:
        return ()
    number = -code if code < 0 else code - 128
    name = signal.Signals(number).name if number in set(signal.Signals) else ""
    if name in _BY_SIGNAL:
        rule, reason, remedy = _BY_SIGNAL[name]
        value = f"ended by {name}, which shells show as {128 + number}"
    elif code in _BY_CODE:
        rule, reason, remedy = _BY_CODE[code]
        value = f"exit code {code}"
    elif name:
        rule, reason, remedy = _FAILED, f"It was ended by {name}.", "See who sent the signal."
        value = f"ended by {name}"
    else:
        rule, reason, remedy = _FAILED, "It ended with an error.", "Read the end of its log."
        value = f"exit code {code}"
    severity = Severity.INFO if rule is _STOPPED else Severity.ERROR
    ended = rule.finding(severity, source, (Evidence(source, value),), reason, remedy)
    report = explain_log(log_tail, f"{source}'s log")
    known = (finding for finding in report.findings if finding.id != "log-empty")
    return (ended, *known)
