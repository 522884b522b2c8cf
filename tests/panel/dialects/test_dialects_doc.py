"""docs/dialects.md: every dialect has its section, and its example is what the plan prints today."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pdpanel.panel.deployment import parse_deployment_text
from pdpanel.panel.dialects.registry import DIALECTS
from pdpanel.panel.host_facts import elsewhere
from pdpanel.panel.plan import plan
from pdpanel.panel.render import render

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "dialects.md").read_text("utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```\n(.*?)```sh\n(.*?)```", TEXT, re.DOTALL)
FILE = re.compile(r"`([^`]+)`:\n\n```json\n(.*?)```", re.DOTALL)


def shown(rendered: Mapping[str, Any]) -> str:
    """Returns the commands as the document shows them: the variables of all, then each command with its own."""
    lines = [f"export {name}={shlex.quote(value)}" for name, value in rendered["env"].items()]
    for command in rendered["commands"]:
        name = command.get("name", "test")
        lines.append(f"# {name} on {command['node']}" if command.get("node") else f"# {name}")
        words = [f"{variable}={shlex.quote(value)}" for variable, value in command.get("env", {}).items()]
        lines.append(" ".join([*words, shlex.join(command["argv"])]))
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(("written", "between", "commands"), EXAMPLES)
def test_an_example_is_what_is_printed(written: str, between: str, commands: str) -> None:
    rendered = render(plan(parse_deployment_text(written), elsewhere(), None))
    assert commands == shown(rendered)
    files = {name: json.loads(text) for name, text in FILE.findall(between)}
    assert files == rendered["files"]


def test_every_dialect_has_a_section_with_an_example() -> None:
    sections = dict(zip(re.findall(r"^## `([\w-]+)`", TEXT, re.MULTILINE), TEXT.split("\n## `")[1:], strict=True))
    assert list(sections) == list(DIALECTS)
    for name, section in sections.items():
        assert "```yaml" in section and "```sh" in section
        assert DIALECTS[name].about in section
        for word in ("**When**", "**Versions**", "**Prints**"):
            assert word in section, name


def test_examples_are_of_the_section_that_they_stand_in() -> None:
    for name, section in zip(DIALECTS, TEXT.split("\n## `")[1:], strict=True):
        for written in re.findall(r"```yaml\n(.*?)```", section, re.DOTALL):
            assert plan(parse_deployment_text(written), elsewhere(), None).dialect == name
