"""Facts, tables and what the doctor says of options are one: every fact names options that releases have."""

from __future__ import annotations

import re

import pytest
from pdpanel.panel.doctor.flag_history import ATTN_DP_SINCE, changes
from pdpanel.panel.flags.successors import ENGINES, load_facts
from pdpanel.panel.flags.table import Kind, load_table
from pdpanel.panel.flags.translate import translate
from pdpanel.panel.flags.version import version_of


@pytest.mark.parametrize("engine", ENGINES)
def test_facts_name_options_that_releases_have(engine: str) -> None:
    facts, table = load_facts(engine), load_table(engine)
    assert facts is not None
    assert table is not None
    for fact in facts.successions:
        assert (fact.old in table.options) is not fact.never, fact.old
        assert fact.new or fact.drop or (fact.reason and fact.remedy), fact.old
        assert fact.source
        for text in fact.new:
            name, equals, _ = text.partition("=")
            assert name in table.options, text
            assert bool(equals) <= (table.options[name].kind is not Kind.SWITCH), text
    for merger in facts.mergers:
        assert {merger.switch, merger.valued, merger.new} <= set(table.options)
        assert table.options[merger.switch].kind is Kind.SWITCH
    assert set(facts.abbreviations.values()) <= set(table.options)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_fact_says_what_the_release_itself_says(engine: str) -> None:
    """Where a release warns about an option and names another one, the fact on it names that one, too."""
    facts, table = load_facts(engine), load_table(engine)
    assert facts is not None
    assert table is not None
    for option in table.options.values():
        named = re.match(r"--[a-z0-9-]+", option.instead)
        fact = facts.of(option.name)
        if named is None or fact is None or not fact.new:
            continue
        assert any(text.startswith(named[0].rstrip("-")) for text in fact.new), option.name


@pytest.mark.parametrize("engine", ENGINES)
def test_every_successor_is_reached(engine: str) -> None:
    """An option that went is, in the first release without it, something that this release has."""
    facts, table = load_facts(engine), load_table(engine)
    assert facts is not None
    assert table is not None
    for fact in facts.successions:
        option = table.options.get(fact.old)
        if option is None or not option.lives[-1].until or not fact.new:
            continue
        words = [fact.old] if option.kind is Kind.SWITCH else [fact.old, "1"]
        made = translate(engine, option.lives[-1].until, words)
        assert fact.old not in made.arguments, fact.old
        assert [one.id for one in made.findings if one.id != "flag-value-refused"] == ["flag-translated"], fact.old


def test_the_doctor_knows_what_the_tables_know() -> None:
    table, known = load_table("sglang"), changes()
    assert table is not None
    for version in table.versions:
        numbers = version_of(version)
        for name, option in table.options.items():
            change = known.get(name[2:])
            absent = change is not None and (change.is_gone(numbers) or change.is_early(numbers))
            # The doctor says of an option that went and came back only that it is there today.
            assert absent is not option.exists(numbers) or len(option.lives) > 1, (version, name)
    assert known["disaggregation-transport"].never
    assert all(change.instead for change in known.values())


def test_what_the_doctor_says_of_what_people_paste() -> None:
    known = changes()
    assert known["stream-output"].until == "0.5.20"
    assert known["stream-output"].instead == "--incremental-streaming-output"
    assert known["attn-dp-size"].instead == "--dp-size N --enable-dp-attention"
    assert version_of(known["attn-dp-size"].since) == ATTN_DP_SINCE
    assert known["attention-data-parallel-size"].instead == "--dp-size N --enable-dp-attention"
    assert known["enable-dp-attention"].instead.startswith("--attn-dp-size N")
    assert known["disaggregation-decode-tp"].instead.startswith("nothing: ")
    assert known["incremental-streaming-output"].instead == "--stream-output"
    assert known["torchao-config"].instead == "a release before 0.5.18"
    assert "tp-size" not in known
