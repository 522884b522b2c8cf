"""How the tests of recipes render one."""

from __future__ import annotations

from pdpanel.panel.recipes.catalog import find_recipe, render_recipe
from pdpanel.panel.recipes.recipe import Rendered


def render(name: str, *texts: str) -> Rendered:
    """Returns what the recipe comes to with these `key=value` texts."""
    return render_recipe(find_recipe(name), texts)


def argvs(rendered: Rendered) -> list[list[str]]:
    """Returns the commands' arguments."""
    return [list(command.argv) for command in rendered.commands]


def ids(rendered: Rendered) -> set[str]:
    """Returns the ids of what was found."""
    return {finding.id for finding in rendered.findings}
