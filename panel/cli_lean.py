"""The command line with no more commands than a call needs, and with a quick end.

Typer builds the parameters of every command before it looks at the arguments, which costs each call what importing a
library does. Called by `panel.cli` alone.
"""

from __future__ import annotations

import atexit
import copy
import gc
from collections.abc import Sequence

import typer

__all__ = ["lean", "run"]

_HELP = frozenset({"-h", "--help"})


def run(app: typer.Typer, arguments: Sequence[str]) -> None:
    """Runs the command that `arguments` name; ends in SystemExit."""
    # Else the interpreter looks through all that was imported once more at its end, for 0.05 s.
    atexit.register(gc.freeze)
    lean(app, arguments)()


def lean(app: typer.Typer, arguments: Sequence[str]) -> typer.Typer:
    """Returns `app` with those commands alone that a word of `arguments` names; all of them where that shows.

    They show in the help of `app` itself, and in what is said of a command that is none.
    """
    first = next((place for place, word in enumerate(arguments) if word in _names(app)), None)
    if first is None or _HELP & set(arguments[:first]):
        return app
    found = copy.copy(app)
    found.registered_commands = [info for info in app.registered_commands if _name(info) in arguments]
    found.registered_groups = [info for info in app.registered_groups if info.name in arguments]
    return found


def _name(info: typer.models.CommandInfo) -> str:
    if info.name is not None:
        return info.name
    assert info.callback is not None
    return typer.main.get_command_name(info.callback.__name__)


def _names(app: typer.Typer) -> frozenset[str]:
    groups = (info.name for info in app.registered_groups if isinstance(info.name, str))
    return frozenset((*map(_name, app.registered_commands), *groups))
