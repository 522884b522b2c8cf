"""SGLang's own argument parser and sglang-router's take what is generated for them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from judges import SGLANG, Judge
from pdpanel.panel.flags.installed import released_engine
from pdpanel.panel.flags.judge import unknown_options
from pdpanel.panel.flags.program import program_of
from pdpanel.panel.flags.table import load_table
from plan_variety import Command, commands_of, planned, preset_fields, sglang_variety

CASES = Path(__file__).resolve().parents[3] / "shared" / "golden" / "launch_commands.json"
VARIETY = 150
# Old releases whose options differ most, and every one that a document or preset names.
RELEASES = ("0.4.5.post1", "0.4.10", "0.5.2", "0.5.9", "0.5.12", "0.5.14", "0.5.15.post1", "0.5.18", "0.5.20", "0.5.22")

# The first run installs the judges.
pytestmark = pytest.mark.timeout(580)


def _of(engine: str, commands: Iterable[Command]) -> list[Command]:
    return [command for command in commands if command.engine == engine]


def _refused(judge: Judge, commands: Sequence[Command]) -> list[str]:
    """Returns what the judge does not take, one line per command."""
    assert commands
    errors = judge.errors([list(command.arguments) for command in commands])
    return [f"{command.source}: {error}" for command, error in zip(commands, errors, strict=True) if error]


def _presets(version: str | None = None) -> list[Command]:
    """Returns the commands of all SGLang presets, of their own version or of another."""
    found: list[Command] = []
    for name, fields in preset_fields("sglang").items():
        if version is not None:
            fields = {**fields, "engine_version": version}
        made = planned(fields)
        # An older preset may have what the judge's release refuses, and then has a finding.
        assert made is not None or version is not None, f"{name} cannot be planned"
        found.extend(commands_of(name, made) if made is not None else ())
    return found


def _variety(version: str) -> list[Command]:
    found: list[Command] = []
    for fields in sglang_variety(VARIETY, version):
        made = planned(fields)
        if made is not None:
            found.extend(commands_of(fields["name"], made))
    return found


def _golden() -> list[Command]:
    if not CASES.exists():
        pytest.skip("shared/golden is not beside the checkout")
    found: list[Command] = []
    for case in json.loads(CASES.read_text("utf-8")):
        for command in case["commands"]:
            program = program_of(command["argv"])
            # The literal cases of the documents are there to be found wrong.
            if program is not None and "argv_in" not in case["inputs"]:
                found.append(Command(f"{case['id']}: {command['role']}", *program, command.get("env", {})))
    return found


def test_the_judge_of_sglang_refuses_what_is_wrong(sglang_judge: Judge) -> None:
    good = ["--model-path", "m", "--disaggregation-mode", "prefill", "--attn-dp-size", "2"]
    wrong: list[list[str]] = [
        ["--model-path", "m", "--stream-output"],
        ["--model-path", "m", "--cuda-graph-bs", "1"],
        ["--model-path", "m", "--disaggregation-mode", "both"],
        ["--model-path", "m", "--tp-size", "two"],
        ["--tp-size", "2"],
    ]
    errors = sglang_judge.errors([good, *wrong])
    assert errors[0] == ""
    assert all(errors[1:])
    assert "ambiguous" in errors[2]


def test_what_is_read_from_sglangs_source_is_what_its_parser_has(sglang_judge: Judge) -> None:
    table = load_table("sglang")
    assert table is not None
    assert {*sglang_judge.ask([])["options"], "-h", "--help"} == {*table.names_at(table.newest), "-h", "--help"}


def test_the_values_that_are_read_from_sglangs_source_are_those_that_its_parser_takes(sglang_judge: Judge) -> None:
    table = load_table("sglang")
    assert table is not None
    choices = sglang_judge.ask([])["choices"]
    read = {name: sorted(values) for name in choices if (values := table.options[name].values_at(table.newest))}
    assert len(read) > 60
    assert read == {name: choices[name] for name in read}
    closed = {
        name for name in table.names_at(table.newest) if not table.options[name].takes("no such value", table.newest)
    }
    assert closed == set(read)


def test_sglang_takes_every_preset(sglang_judge: Judge) -> None:
    """Also those of older releases, when they are planned for the judge's."""
    assert _refused(sglang_judge, _of("sglang", _presets(SGLANG))) == []
    own = [name for name, fields in preset_fields("sglang").items() if fields.get("engine_version") in ("", SGLANG)]
    assert own
    assert _refused(sglang_judge, [one for one in _of("sglang", _presets()) if one.source.split(":")[0] in own]) == []


@pytest.mark.parametrize("version", ["", SGLANG])
def test_sglang_takes_every_kind_of_deployment(sglang_judge: Judge, version: str) -> None:
    commands = _of("sglang", _variety(version))
    assert len(commands) > VARIETY
    assert _refused(sglang_judge, commands) == []


def test_sglang_takes_the_published_commands(sglang_judge: Judge) -> None:
    assert _refused(sglang_judge, _of("sglang", _golden())) == []


def test_the_router_takes_what_is_generated_and_refuses_what_is_wrong(router_judge: Judge) -> None:
    errors = router_judge.errors(
        [
            ["--pd-disaggregation", "--prefill", "http://a:1", "8998", "--decode", "http://a:2"],
            ["--pd-disaggregation", "--prefill", "http://a:1", "x", "--decode", "http://a:2"],
            ["--pd-disaggregation", "--decode", "http://a:2", "--colour", "red"],
        ]
    )
    assert errors[0] == ""
    assert all(errors[1:])
    assert _refused(router_judge, _of("sglang-router", [*_variety(SGLANG), *_presets()])) == []


def test_the_router_takes_the_published_commands(router_judge: Judge) -> None:
    assert _refused(router_judge, _of("sglang-router", _golden())) == []


@pytest.mark.parametrize("version", RELEASES)
def test_an_older_release_knows_every_option_that_is_generated_for_it(version: str) -> None:
    """Their parsers are not at hand; the options that their sources declare are."""
    engine = released_engine("sglang", version)
    commands = _of("sglang", _variety(version))
    assert commands
    found = [one for command in commands for one in unknown_options(engine, command.source, command.arguments)]
    assert [(finding.subject, finding.reason) for finding in found] == []


def test_a_preset_is_in_the_words_of_its_own_release() -> None:
    found: list[Any] = []
    for name, fields in preset_fields("sglang").items():
        made = planned(fields)
        assert made is not None, f"{name} cannot be planned"
        engine = released_engine("sglang", str(fields.get("engine_version", "")))
        for command in _of("sglang", commands_of(name, made)):
            found.extend(unknown_options(engine, command.source, command.arguments))
    assert [(finding.subject, finding.reason) for finding in found] == []
