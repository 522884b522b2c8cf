"""A call builds the command that it names, and all of them where somebody sees them."""

from __future__ import annotations

import pytest
import typer
from pdpanel.panel.cli import app
from pdpanel.panel.cli_lean import lean


def _commands(*arguments: str) -> set[str]:
    return set(typer.main.get_command(lean(app, arguments)).commands)  # type: ignore[attr-defined]


_ALL = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def test_every_command_can_be_named() -> None:
    assert len(_ALL) > 20
    for name in _ALL:
        assert _commands(name) == {name}


def test_options_before_and_after_a_command_are_none() -> None:
    assert _commands("--state-dir", "/tmp/x", "up", "--port", "8000", "--help") == {"up"}
    assert _commands("parse-log", "FILE") == {"parse-log"}


def test_a_word_that_is_another_commands_name_does_no_harm() -> None:
    assert _commands("up", "--name", "down") == {"up", "down"}


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h", "up"), ("--no-browser",), ("upp",)])
def test_where_the_commands_are_shown_all_are_there(arguments: tuple[str, ...]) -> None:
    assert _commands(*arguments) == _ALL
