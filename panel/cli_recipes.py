"""What `pdpanel recipe` does and prints: the list of recipes, or one of them as a script or as JSON.

`panel.recipes` renders; `panel.cli` parses the arguments.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import typer

from ..engine.errors import ConfigError
from ..nic_probe import Severity
from .doctor_text import count_of, finding_json
from .recipes.catalog import RECIPES, find_recipe, render_recipe
from .recipes.recipe import Parameter, Recipe, Rendered
from .recipes.script import script_of

__all__ = ["recipe"]


def recipe(name: str | None, settings: Sequence[str], *, as_json: bool) -> int:
    """Prints a recipe and returns 1 when a finding is an error, else 0; without a name it prints the list.

    Args:
        settings: `key=value` texts.

    Raises:
        ConfigError: there is no such recipe, or a setting is unknown, missing or bad.
    """
    if name is None:
        if settings:
            raise ConfigError("--set", settings[0], "belongs to no recipe", "write a recipe's name in front of it")
        typer.echo(json.dumps({"recipes": list(map(_document, RECIPES))}, indent=2) if as_json else _listed())
        return 0
    wanted = find_recipe(name)
    rendered = render_recipe(wanted, settings)
    if as_json:
        typer.echo(json.dumps(_rendered_document(rendered), indent=2))
    else:
        typer.echo(script_of(wanted, rendered), nl=False)
    return 1 if count_of(rendered.findings, Severity.ERROR) else 0


def _rendered_document(rendered: Rendered) -> dict[str, Any]:
    return {
        "files": dict(rendered.files),
        "env": dict(rendered.env),
        "commands": [command.document() for command in rendered.commands],
        "findings": [finding_json(finding) for finding in rendered.findings],
    }


def _document(recipe: Recipe) -> dict[str, Any]:
    return {
        "name": recipe.name,
        "title": recipe.title,
        "summary": recipe.summary,
        "source": recipe.source,
        "parameters": [
            {
                "name": parameter.name,
                "kind": str(parameter.kind),
                "default": parameter.default,
                "required": parameter.required,
                "choices": list(parameter.choices),
                "help": parameter.help,
            }
            for parameter in recipe.parameters
        ],
    }


def _listed() -> str:
    return "\n\n".join("\n".join(_entry(recipe)) for recipe in RECIPES)


def _entry(recipe: Recipe) -> Iterator[str]:
    yield f"{recipe.name}: {recipe.title}"
    width = max(len(parameter.name) for parameter in recipe.parameters)
    for parameter in recipe.parameters:
        yield f"  {parameter.name:<{width}}  {parameter.help}{_values(parameter)}"


def _values(parameter: Parameter) -> str:
    notes = [" | ".join(parameter.choices)] if parameter.choices else [str(parameter.kind)]
    if parameter.required:
        notes.append("required")
    elif parameter.default is not None:
        notes.append(f"default {parameter.default}")
    return f"  [{', '.join(notes)}]"
