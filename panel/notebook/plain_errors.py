"""Shows a person's errors in a notebook as the one sentence that they are.

IPython asks an exception for `_render_traceback_`, the lines to show in place of a traceback (see
InteractiveShell.showtraceback). Wraps the public calls of the notebook's handle.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from ...engine.errors import PdpanelError

__all__ = ["plain_errors"]

P = ParamSpec("P")
R = TypeVar("R")


def _short(error: PdpanelError) -> PdpanelError:
    error.__dict__["_render_traceback_"] = lambda: [f"{type(error).__name__}: {error}"]
    return error


def plain_errors(call: Callable[P, R]) -> Callable[P, R]:
    """Makes an error of `call` one sentence: PdpanelError without a traceback, also where the system said no."""

    @functools.wraps(call)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return call(*args, **kwargs)
        except PdpanelError as error:
            raise _short(error) from None
        except OSError as error:
            where = f" ({error.filename})" if error.filename else ""
            raise _short(PdpanelError(f"{error.strerror or error}{where}.")) from None

    return wrapped
