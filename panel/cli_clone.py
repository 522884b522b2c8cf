"""`pdpanel up --clone RUN`: the deployment of an earlier run, with edits, under a name of its own.

Ports that the deployment left open are chosen anew; those that it names stay. `panel.cli` calls it.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..engine.errors import ConfigError

if TYPE_CHECKING:
    from .cli_deployment import Edits
    from .deployment import Deployment
    from .runs import Runs

__all__ = ["CloneOption", "cloned", "next_name", "refuse_others"]

CloneOption = Annotated[
    str | None,
    typer.Option("--clone", metavar="RUN", help="Start what an earlier run was, changed by the other options."),
]
_NUMBERED = re.compile(r"(.+?)-(\d{1,4})")
_LONGEST = 40  # of a deployment's name


def refuse_others(deployment: Path | None, preset: str | None) -> None:
    """Raises ConfigError when a clone is to come from somewhere else as well."""
    if deployment is not None or preset is not None:
        other = str(deployment or preset)
        raise ConfigError("--clone", other, "cannot go with a deployment file or a preset", "give one of them")


def cloned(runs: Runs, run: str, edits: Edits) -> Deployment:
    """Returns the deployment of the run with that id, or the newest with that name, after the edits.

    Raises:
        ConfigError: there is no such run, it was not started from a deployment, or the edits do not fit.
    """
    from .cli_deployment import edited
    from .deployment import parse_deployment_text

    views = runs.list()
    view = next((view for view in views if run in {view.id, view.name}), None)
    if view is None:
        raise ConfigError("--clone", run, "is not a run of this user", "give an id that `pdpanel status` shows")
    if view.attached:
        raise ConfigError("--clone", run, "was not started here, so there is no deployment", "give another run")
    found = parse_deployment_text(runs.deployment_text(view.id), view.id)
    fields = found.model_dump(mode="python", exclude_unset=True)
    # A path of the model means what it meant where that run was started.
    fields |= {"name": next_name(found.name, {view.name for view in views}), "model": runs.plan(view.id).model}
    return edited(fields, edits)


def next_name(name: str, taken: Collection[str]) -> str:
    """Returns `name` with the first number, from 2, that no run's name has."""
    numbered = _NUMBERED.fullmatch(name)
    base = numbered[1] if numbered else name
    number = 2
    while (found := f"{base[: _LONGEST - len(str(number)) - 1]}-{number}") in taken:
        number += 1
    return found
