"""Whether one engine knows the options that a plan gives it. Pure; called by `pdpanel flags`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...nic_probe.finding import Evidence, Finding, Severity
from .installed import KnownEngine
from .rules import NOT_IN_ENGINE
from .table import Kind, Table
from .translate import translate
from .values import judge_values
from .words import Written, join_words, split_words

__all__ = ["unknown_options"]


def unknown_options(engine: KnownEngine, process: str, arguments: Sequence[str]) -> Iterator[Finding]:
    """Yields a finding for each option of a process that the engine does not take."""
    table, version = engine.table, engine.version

    def is_switch(name: str) -> bool:
        known = table.options.get(name)
        return known is not None and known.kind is Kind.SWITCH

    for option in split_words(arguments, is_switch):
        if _takes(table, version, option.name):
            subject = f"{process}: {option.name}"
            yield from judge_values(table, version, engine.title, option, sure=True, subject=subject)
            continue
        corrected = _corrected(engine, option)
        known = len(table.completions(option.name, version))
        reason = f"{engine.title} does not know {option.name}."
        if known:
            reason = f"{option.name} is short for {known} options of {engine.title}, which refuses it."
        yield NOT_IN_ENGINE.finding(
            Severity.ERROR,
            f"{process}: {option.name}",
            (Evidence(process, " ".join(option.words())),),
            reason,
            f"Write {corrected}." if corrected else "Set engine_version to the release that runs, or leave it out.",
            corrected,
        )


def _takes(table: Table, version: tuple[int, ...], name: str) -> bool:
    if not name.startswith("--") or name == "--help" or table.has(name, version):
        return True
    if table.engine == "vllm":
        base = name.partition(".")[0]
        return table.has(base, version) or table.has(base.replace("_", "-"), version)
    return len(table.completions(name, version)) == 1


def _corrected(engine: KnownEngine, option: Written) -> str | None:
    """Returns what the engine's own version calls the option, where that is known."""
    made = translate(engine.table.engine, ".".join(map(str, engine.version)), option.words())
    refused = any(finding.severity is Severity.ERROR for finding in made.findings)
    text = " ".join(made.arguments)
    return text if text and not refused and text != " ".join(join_words([option])) else None
