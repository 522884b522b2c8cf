"""The commands of a text, judged by the doctor's rules, and the same text with what is plainly wrong put right.

Pure. Commands of several deployments in one document are judged one by one. Called by `lint`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...nic_probe.finding import Finding
from ..doctor.agreement import sorted_findings
from ..doctor.command import WrittenCommand, written_commands, written_fragments
from ..doctor.deployment import check_commands
from ..doctor.group import split_deployments
from ..doctor.worker import Engine
from .edit import apply_edits, edits_of
from .fixes import fix
from .flags import flag_findings, translate_options
from .rewrite import Rewrite

__all__ = ["MOST_JUDGED", "corrected_text", "judged", "read_commands", "rewritten"]

_MOST_ROUNDS = 6
_MANY = 32
MOST_JUDGED = 96
"""Commands of a text that are judged: rules compare each with each."""


def read_commands(text: str, source: str, engine_version: str, most: int = MOST_JUDGED) -> list[WrittenCommand]:
    """Returns the commands of a script; where it names no program, its options as pieces of one.

    Args:
        engine_version: taken for commands that do not tell theirs; empty is today's.
        most: how many of them; the first count.
    """
    found = (written_commands(text, source) or written_fragments(text, source))[:most]
    return with_version(found, engine_version)


def with_version(commands: Sequence[WrittenCommand], engine_version: str) -> list[WrittenCommand]:
    """Returns commands that do not tell their engine's version with this one."""
    if not engine_version:
        return list(commands)
    return [
        replace(one, worker=replace(one.worker, version=one.worker.version or engine_version))
        if one.worker.engine is not Engine.OTHER
        else one
        for one in commands
    ]


def judged(commands: Sequence[WrittenCommand]) -> tuple[Finding, ...]:
    """Returns what is wrong with commands, the gravest first."""
    found = check_commands([one.worker for one in commands])
    return sorted_findings((*found, *flag_findings(commands, found)))


def rewritten(commands: Sequence[WrittenCommand]) -> list[Rewrite]:
    """Returns the commands with the changes that their findings ask for; one round of them."""
    rewrites = [Rewrite(one) for one in commands]
    by_source = {one.written.worker.source: one for one in rewrites}
    for deployment in split_deployments([one.worker for one in commands]):
        concerned = [by_source[worker.source] for worker in deployment]
        for finding in check_commands(deployment):
            fix(finding, concerned)
    for one in rewrites:
        # Options first get their right values, then their names: the two may touch the same words.
        if not one.changes:
            translate_options(one)
    return rewrites


def corrected_text(text: str, source: str, engine_version: str) -> str:
    """Returns the script with its commands put right; a correction may bring the next one to light."""
    seen = {text}
    for number in range(_MOST_ROUNDS):
        commands = read_commands(text, source, engine_version)
        if number > 1 and len(commands) > _MANY:
            break
        rewrites = rewritten(commands)
        changed = apply_edits(text, edits_of(text, [one for one in rewrites if one.changed]))
        if changed in seen:
            break
        seen.add(changed)
        text = changed
    return text
