"""Whether a version takes the value that an option is given. Pure; called by `translate` and `judge`."""

from __future__ import annotations

from collections.abc import Iterator

from ...nic_probe.finding import Evidence, Finding, Severity
from .rules import VALUE
from .table import Option, Table
from .words import Written

__all__ = ["judge_values"]

_SHOWN = 12


def judge_values(
    table: Table, version: tuple[int, ...], shown: str, option: Written, *, sure: bool, subject: str = ""
) -> Iterator[Finding]:
    """Yields a finding for each value of an option that this version refuses.

    Args:
        shown: the engine with its version, for sentences.
        sure: True where the version was read; else it may have more values than are known.
        subject: what the finding is about, the option's name when empty.
    """
    known = table.options.get(option.name)
    if known is None or not known.exists(version):
        return
    for value in option.values:
        if known.takes(value, version):
            continue
        severity = Severity.ERROR if sure else Severity.WARNING
        evidence = (
            Evidence("the command", " ".join(option.words())),
            Evidence("the engine's releases", _history(known, value)),
        )
        reason = f"{shown} does not take {value} for {option.name}."
        allowed = known.values_at(version)
        more = f" or one of {len(allowed) - _SHOWN} more" if len(allowed) > _SHOWN else ""
        remedy = f"Use {', '.join(allowed[:_SHOWN])}{more}."
        yield VALUE.finding(severity, subject or option.name, evidence, reason, remedy)


def _history(option: Option, value: str) -> str:
    lives = option.values.get(value, ())
    if not lives:
        return f"{value} is a value of {option.name} in none of them"
    told = [f"since {life.since}" + (f", gone in {life.until}" if life.until else "") for life in lives]
    return f"{value} is a value of {option.name} {'; '.join(told)}"
