"""The table of all recipes, and how one of them is found and rendered."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from ...engine.errors import ConfigError
from . import install, link_bench, rocm_mad, servers, smoke_test
from .recipe import Recipe, Rendered
from .settings import read_settings

__all__ = ["RECIPES", "RULES", "find_recipe", "render_recipe"]

RECIPES: tuple[Recipe, ...] = (
    *install.RECIPES,
    *rocm_mad.RECIPES,
    *smoke_test.RECIPES,
    *link_bench.RECIPES,
    *servers.RECIPES,
)
RULES = (*install.RULES, *rocm_mad.RULES, *link_bench.RULES, *servers.RULES)
"""The rules of the findings that recipes make."""


def find_recipe(name: str) -> Recipe:
    """Returns the recipe of this name.

    Raises:
        ConfigError: there is none; names the nearest.
    """
    names = [recipe.name for recipe in RECIPES]
    if name not in names:
        near = get_close_matches(name.lower(), names, n=1, cutoff=0.4)
        remedy = f"perhaps {near[0]}" if near else f"write one of {', '.join(names)}"
        raise ConfigError("NAME", name, "is not a recipe", remedy)
    return RECIPES[names.index(name)]


def render_recipe(recipe: Recipe, texts: Sequence[str]) -> Rendered:
    """Returns what the recipe comes to with these `key=value` texts.

    Raises:
        ConfigError: a setting is unknown, missing or bad.
    """
    return recipe.render(read_settings(recipe, texts))
