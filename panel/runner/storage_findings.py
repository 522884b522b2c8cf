"""What a run's directory has suffered, in words: samples and records that could not be written, logs that were cut.

Pure. The runner tells these as they happen; `panel.history` finds in the directory what has left a trace.
"""

from __future__ import annotations

from pathlib import Path

from ...nic_probe.checks.check import Rule
from ...nic_probe.finding import Evidence, Finding, Severity

__all__ = ["RULES", "log_cut", "record_waiting", "samples_set_aside", "samples_waiting"]

_SET_ASIDE = Rule(
    "samples-set-aside",
    "A run's samples could be read no more",
    "The SQLite file with a run's samples is damaged: the disk lost something, or another program wrote into it. The "
    "runner has set it aside as samples.sqlite.corrupt-N and goes on with a new one, which begins with the rows that "
    "were in memory, the last 15 minutes. Processes and requests are not touched.",
)
_WAITING = Rule(
    "samples-not-written",
    "A run's samples cannot be written",
    "The disk of the state folder takes nothing now: it is full, read-only or failing. The run goes on. Its samples "
    "wait in memory, an hour of them, and are written when the disk takes them again.",
)
_RECORD = Rule(
    "run-record-not-written",
    "A run's record cannot be written",
    "The disk of the state folder takes nothing now, so state.json tells an earlier state of the run. The run goes "
    "on, and its runner tells the true state to panel and CLI. Were the runner to end now, the next one would begin "
    "with the older record.",
)
_LOG_CUT = Rule(
    "log-cut",
    "A log was cut because it grew too long",
    "A process has written more than PDPANEL_LOG_MB allows. The runner keeps the first MiB of its log in "
    "NAME.head.log, since start-up lines and the first error stand there, and the newest quarter in NAME.log.",
)
RULES = (_SET_ASIDE, _WAITING, _RECORD, _LOG_CUT)


def samples_set_aside(path: Path, moved: Path, problem: str) -> Finding:
    """Returns the finding for a damaged file that was moved."""
    return _SET_ASIDE.finding(
        Severity.WARNING,
        path.name,
        (Evidence(str(moved), problem),),
        f"The samples were damaged and are set aside as {moved.name}; a new file was begun.",
        "Check the disk; remove the file that was set aside when nobody needs it.",
    )


def samples_waiting(path: Path, problem: str) -> Finding:
    """Returns the finding for samples that wait in memory."""
    return _WAITING.finding(
        Severity.WARNING,
        path.name,
        (Evidence(str(path), problem),),
        f"The samples cannot be written ({problem}) and wait in memory.",
        "Make room on the disk of the state folder, for example with `pdpanel prune`.",
    )


def record_waiting(path: Path, problem: str) -> Finding:
    """Returns the finding for a record that waits in memory."""
    return _RECORD.finding(
        Severity.WARNING,
        path.name,
        (Evidence(str(path), problem),),
        f"The run's record cannot be written ({problem}); the run goes on.",
        "Make room on the disk of the state folder, for example with `pdpanel prune`.",
    )


def log_cut(path: Path, cap_bytes: int) -> Finding:
    """Returns the finding for a log that was cut."""
    return _LOG_CUT.finding(
        Severity.INFO,
        path.name,
        (Evidence(str(path), f"longer than {cap_bytes >> 20} MiB"),),
        "The middle of this log was cut out, since it grew too long.",
        "Set PDPANEL_LOG_MB before the start to keep more.",
    )
