"""Judges argument lists by sglang-router's own parser and checks: a JSON list a line, one line of errors each."""

from __future__ import annotations

import contextlib
import io
import json
import sys

from sglang_router.launch_router import parse_router_args


def error_of(argv: list[str]) -> str:
    """Returns what the parser says against these arguments; empty when it takes them."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        try:
            parse_router_args(argv)._validate_router_args()
        except SystemExit:
            return said.getvalue().strip().splitlines()[-1]
        except ValueError as error:
            return str(error)
    return ""


for line in sys.stdin:
    print(json.dumps({"errors": [error_of(argv) for argv in json.loads(line)]}), flush=True)
