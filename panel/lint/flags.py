"""The options of written commands against the tables of each engine: what the version lacks, and its words for it.

Pure. `panel.flags` knows the options; here its translation of a whole command becomes findings on that command and
changes of its words. Called by `commands`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from difflib import SequenceMatcher

from ...nic_probe.finding import Evidence, Finding, Severity
from ..doctor.command import WrittenCommand
from ..doctor.worker import Engine, WorkerArguments, WorkerRole
from ..flags.rules import KV_KEY, TRANSLATED
from ..flags.target import target_of
from ..flags.translate import translate
from .rewrite import Rewrite

__all__ = ["flag_findings", "translate_options"]

# Findings of the doctor that say the same of an option, or of a configuration's key.
_SAID = frozenset({"flag-gone", "flag-abbreviated", "flag-twice"})
_MOST_WORDS = 1024


def flag_findings(commands: Iterable[WrittenCommand], said: Iterable[Finding]) -> Iterator[Finding]:
    """Yields what the engine's version has to say about the options of commands.

    Args:
        commands: of a text.
        said: findings on them; an option that one of them is about is left out.
    """
    known = {
        (evidence.source, finding.subject) for finding in said if finding.id in _SAID for evidence in finding.evidence
    }
    for written in commands:
        worker, engine = written.worker, _engine(written.worker)
        words = written.command.words[written.first :]
        target = target_of(engine, worker.version) if engine and len(words) <= _MOST_WORDS else None
        if target is None:
            continue
        for finding in translate(engine, worker.version, words).findings:
            subject = f"{worker.name}: {finding.subject}"
            if finding.id == KV_KEY.id or any(
                source == worker.source and subject in about.split(", ") for source, about in known
            ):
                continue
            severity = finding.severity
            if finding.id == TRANSLATED.id and not target.has(finding.subject):
                severity = Severity.ERROR if target.sure else Severity.WARNING
            first = Evidence(worker.source, finding.evidence[0].value) if finding.evidence else None
            evidence = (first, *finding.evidence[1:]) if first else ()
            remedy = finding.remedy or (f"Write {finding.corrected}." if finding.corrected else "")
            yield replace(finding, subject=subject, severity=severity, evidence=evidence, remedy=remedy)


def translate_options(rewrite: Rewrite) -> bool:
    """Puts the options of a command into the words of its engine's version; False when they are already."""
    written = rewrite.written
    engine = _engine(written.worker)
    before = written.command.words[written.first :]
    if not engine or len(before) > _MOST_WORDS or any("$" in word for word in before if word.startswith("$")):
        return False
    made = translate(engine, written.worker.version, before)
    if not any(finding.id in {"flag-translated", "flag-dropped"} for finding in made.findings):
        return False
    done = False
    matcher = SequenceMatcher(None, before, made.arguments, autojunk=False)
    for tag, start, end, new_start, new_end in matcher.get_opcodes():
        if tag != "equal":
            first = written.first
            done |= rewrite.replace(first + start, first + end, *made.arguments[new_start:new_end])
    return done


def _engine(worker: WorkerArguments) -> str:
    """Returns the name of the table for a command; empty for a program without one."""
    if worker.role is WorkerRole.ROUTER:
        routers = ("sglang_router.launch_router", "sglang-router")
        return "sglang-router" if worker.program in routers else ""
    if worker.role in {WorkerRole.METADATA, WorkerRole.STORE}:
        return ""
    return {Engine.SGLANG: "sglang", Engine.VLLM: "vllm"}.get(worker.engine, "")
