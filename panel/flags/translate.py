"""The arguments of an engine in the words of one version of it, with a finding for everything that changed.

Pure. Knows no option by name: tables and facts do. Called by the dialects on what they generate and what people add.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...nic_probe.finding import Evidence, Finding, Severity
from .kv_config import judge_kv_config
from .rules import DROPPED, REFUSED, TRANSLATED, UNKNOWN
from .successors import Merger, Succession
from .table import Option
from .target import Target, target_of
from .values import judge_values
from .words import Written, join_words, split_words

__all__ = ["Translated", "translate"]

_DEPTH = 5
# A near name costs milliseconds, and whoever has more unknown options than this has another engine.
_MOST_NEAREST = 40


@dataclass(frozen=True, slots=True)
class Translated:
    """The arguments, and what there is to say about them. A refused option stays where it was, with its finding."""

    arguments: tuple[str, ...]
    findings: tuple[Finding, ...] = ()


def translate(engine: str, version: str, arguments: Sequence[str]) -> Translated:
    """Returns the arguments as this version of the engine takes them.

    Options that the version calls deprecated get their successor, too; without a version only what is gone today is
    translated. Options that the version lacks and that have no like in it are kept, with a finding of severity error.

    Args:
        engine: sglang, sglang-router or vllm; arguments of another engine come back as they are.
        version: such as 0.5.23 or v0.5.15.post1-rocm720; empty or no number is today's.
        arguments: the words after the program, or a whole command: single-dash options that are unknown are passed on.
    """
    target = target_of(engine, version)
    if target is None:
        return Translated(tuple(arguments))
    findings: list[Finding] = []
    written: Sequence[Written] = [
        option.named(target.spelled(option.name)) if option.name else option
        for option in split_words(arguments, target.is_switch)
    ]
    for merger in target.facts.mergers:
        written = _merged(target, merger, written, findings)
    for fact in target.facts.successions:
        written = _gathered(target, fact, written, findings)
    taken = {option.name for option in written if option.name and target.has(option.name)}
    result: list[Written] = []
    for option in written:
        made = tuple(_in_words_of(target, option, taken, findings))
        result.extend(made)
        for one in made:
            findings.extend(judge_values(target.table, target.version, target.shown, one, sure=target.sure))
        if option.name == "--kv-transfer-config":
            findings.extend(judge_kv_config(target.given, version, option.value))
    return Translated(join_words(result), tuple(findings))


def _in_words_of(target: Target, option: Written, taken: set[str], findings: list[Finding]) -> Iterable[Written]:
    if not _is_judged(target, option.name):
        return (option,)
    if target.has(option.name) and not (target.given and target.calls_deprecated(option.name)):
        return (option,)
    stands = _stand_in(target, option, _DEPTH)
    if stands is not None:
        if stands == (option,):
            return stands
        findings.append(_changed(target, option, stands))
        kept = tuple(other for other in stands if other.name not in taken)
        taken.update(other.name for other in kept)
        return kept
    full = target.table.completions(option.name, target.version)
    if len(full) == 1 and target.option(option.name) is None:
        return (option.named(full[0]),)
    findings.append(_refused(target, option, full, nearest=len(findings) < _MOST_NEAREST))
    return (option,)


def _is_judged(target: Target, name: str) -> bool:
    if not name.startswith("--") or name == "--help":
        return False
    return not (target.facts.dotted and "." in name and target.has(name.partition(".")[0]))


def _stand_in(target: Target, option: Written, depth: int) -> tuple[Written, ...] | None:
    """Returns what means the same in the target's version; None when nothing does."""
    exists = target.has(option.name)
    if exists and not (target.given and target.calls_deprecated(option.name)):
        return (option,)
    fact = target.facts.of(option.name)
    if fact is not None and depth:
        if fact.new:
            parts = [_stand_in(target, part, depth - 1) for part in _successors(fact, option)]
            if all(part is not None for part in parts):
                return tuple(one for part in parts if part is not None for one in part)
        elif fact.drop:
            return ()
    if not exists and depth:
        for old in _predecessors(target, option):
            if (found := _stand_in(target, old, 0)) is not None:
                return found
    return (option,) if exists else None


def _successors(fact: Succession, option: Written) -> Iterable[Written]:
    for text in fact.new:
        name, equals, value = text.partition("=")
        if equals:
            yield Written(name, (value,))
        else:
            values = fact.values or {}
            yield Written(name, tuple(values.get(word, word) for word in option.values), option.joined)


def _predecessors(target: Target, option: Written) -> Iterable[Written]:
    for fact in target.facts.successions:
        if not fact.back or len(fact.new) != 1:
            continue
        name, equals, value = fact.new[0].partition("=")
        if name == option.name and (not equals or option.values == (value,)):
            yield Written(fact.old) if equals else option.named(fact.old)


def _merged(target: Target, merger: Merger, written: Sequence[Written], findings: list[Finding]) -> Sequence[Written]:
    """Turns a switch with a valued option into the one option that took their place, or back."""
    canonical = [_canonical(target, option) for option in written]
    by_name = {option.name: option for option in canonical if option.name}
    new, valued = by_name.get(merger.new), by_name.get(merger.valued)
    if target.has(merger.new):
        outdated = target.given and target.calls_deprecated(merger.switch)
        if not outdated or merger.switch not in by_name or valued is None or new is not None:
            return written
        stands = (Written(merger.new, valued.values, valued.joined),)
        findings.append(_changed(target, (valued, Written(merger.switch)), stands))
        kept = [option for option in written if option.name != merger.switch]
        return _replaced(target, kept, merger.valued, stands)
    if new is None or (valued is not None and valued.value != "1") or not target.has(merger.switch):
        return written
    stands = () if new.value == "1" else (Written(merger.valued, new.values, new.joined), Written(merger.switch))
    findings.append(_changed(target, new, stands))
    kept = [option for option in written if option.name not in {merger.valued, merger.switch}]
    return _replaced(target, kept, merger.new, stands)


def _replaced(target: Target, written: Sequence[Written], name: str, by: Sequence[Written]) -> Sequence[Written]:
    """Puts options where the first one of a name was, and takes the others of that name out."""
    result: list[Written] = []
    waiting = True
    for option in written:
        if _canonical(target, option).name != name:
            result.append(option)
        elif waiting:
            result.extend(by)
            waiting = False
    return result


def _canonical(target: Target, option: Written) -> Written:
    known = target.option(option.name)
    return option.named(known.alias_of) if known is not None and known.alias_of else option


def _gathered(
    target: Target, fact: Succession, written: Sequence[Written], findings: list[Finding]
) -> Sequence[Written]:
    """Turns several options, which the version lacks, back into the one that they took the place of."""
    if len(fact.new) < 2 or not fact.back or not target.has(fact.old):
        return written
    parts = [(name, (value,)) for name, _, value in (text.partition("=") for text in fact.new)]
    present = [option for option in written if (option.name, option.values) in parts]
    if {option.name for option in present} != {name for name, _ in parts} or any(target.has(name) for name, _ in parts):
        return written
    stands = (Written(fact.old),)
    findings.append(_changed(target, tuple(present), stands))
    kept = [option for option in written if option not in present[1:]]
    return _replaced(target, kept, present[0].name, stands)


def _changed(target: Target, option: Written | Sequence[Written], stands: Sequence[Written]) -> Finding:
    before = (option,) if isinstance(option, Written) else tuple(option)
    name = before[0].name
    then, now = " ".join(join_words(before)), " ".join(join_words(stands))
    evidence = (Evidence("the command", then), *_history(target, name))
    fact = target.facts.of(name)
    reason = fact.reason if fact is not None else ""
    if not now:
        reason = f"{target.shown} has no {name}. {reason}".strip()
        return DROPPED.finding(Severity.INFO, name, evidence, reason, "Leave it out of the deployment.")
    verb = "calls it deprecated" if target.has(name) else "does not have it"
    reason = f"{target.shown} {verb}; {now} means the same. {reason}".strip()
    return TRANSLATED.finding(Severity.INFO, name, evidence, reason, "", now)


def _refused(target: Target, option: Written, completions: Sequence[str], *, nearest: bool) -> Finding:
    name = option.name
    known = target.option(name)
    fact = target.facts.of(name)
    severity = Severity.ERROR if target.sure or (known is not None and target.given) else Severity.WARNING
    evidence = (Evidence("the command", " ".join(option.words())), *_history(target, name))
    if known is None and completions:
        reason = f"{name} is short for {len(completions)} options of {target.shown}, which refuses it."
        return UNKNOWN.finding(severity, name, evidence, reason, f"Write one of {', '.join(completions[:6])} in full.")
    if known is None:
        near = difflib.get_close_matches(name, sorted(target.names), 1, 0.8) if nearest else []
        remedy = f"Write {near[0]}, or leave it out." if near else "Leave it out, or use a release that has it."
        reason = f"{target.shown} has no {name}, and no release that was read has."
        return UNKNOWN.finding(severity, name, evidence, reason, remedy, near[0] if near else None)
    reason = f"{target.shown} has no {name}. {fact.reason if fact else ''}".strip()
    return REFUSED.finding(severity, name, evidence, reason, _remedy(target, fact, known))


def _remedy(target: Target, fact: Succession | None, option: Option) -> str:
    if fact is not None and fact.remedy:
        return fact.remedy
    lives = [
        f"{life.since} to before {life.until}" if life.until else f"{life.since} and newer" for life in option.lives
    ]
    return f"Leave it out, or use {target.facts.title} {' or '.join(lives)}."


def _history(target: Target, name: str) -> tuple[Evidence, ...]:
    option = target.option(name)
    if option is None:
        return ()
    lives = [f"since {life.since}" + (f", gone in {life.until}" if life.until else "") for life in option.lives]
    deprecated = f", deprecated since {option.deprecated}" if option.deprecated else ""
    fact = target.facts.of(name)
    source = fact.source if fact is not None else f"{target.facts.title}'s releases"
    return (Evidence(source, f"{name} exists {'; '.join(lives)}{deprecated}"),)
