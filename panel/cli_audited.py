"""Writes the acting commands of the command line to the audit log, with how they ended.

The group of `pdpanel`'s commands: one place, so that no command writes for itself. Arguments are redacted by the log.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from typer.core import TyperGroup

from ..engine.errors import PdpanelError
from .config import PanelConfig

if TYPE_CHECKING:
    from typer import Context

__all__ = ["ACTIONS", "AuditedGroup"]

ACTIONS = frozenset("up down start stop restart resume adopt prune clone attach detach scale".split())
_ARGUMENTS = "pdpanel.arguments"


class AuditedGroup(TyperGroup):
    """Runs a command; those of `ACTIONS` leave an entry."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Notes the command and its arguments."""
        found = super().resolve_command(ctx, args)
        ctx.meta[_ARGUMENTS] = (found[0], list(found[2]))
        return found

    def invoke(self, ctx: Any) -> Any:
        """Runs the command and notes how it ended."""
        outcome = "done"
        try:
            return super().invoke(ctx)
        except PdpanelError as error:
            outcome = f"failed: {error}"
            raise
        except KeyboardInterrupt:
            outcome = "interrupted"
            raise
        except Exception as error:
            code = getattr(error, "exit_code", None)
            outcome = "done" if code == 0 else f"ended with exit code {code}" if code is not None else "failed"
            raise
        finally:
            _record(ctx, outcome)


def _record(ctx: Context, outcome: str) -> None:
    name, arguments = ctx.meta.get(_ARGUMENTS, ("", []))
    if name not in ACTIONS or not isinstance(ctx.obj, PanelConfig) or {"-h", "--help", "--dry-run"} & set(arguments):
        return
    from .audit import Audit, Entry, local_user

    entry = Entry(time.time(), local_user(), "", name, " ".join(arguments), outcome)
    Audit(ctx.obj.state_dir).record(entry)
