"""Judges argument lists by the parser of vLLM's server: a JSON list a line, one line of errors each."""

from __future__ import annotations

import contextlib
import io
import json
import sys

with contextlib.redirect_stdout(sys.stderr):
    from vllm.entrypoints.launchers.cli_args import make_arg_parser  # pyright: ignore[reportMissingImports]
    from vllm.utils.argparse_utils import FlexibleArgumentParser  # pyright: ignore[reportMissingImports]

    PARSER = make_arg_parser(FlexibleArgumentParser(prog="vllm serve"))


def error_of(argv: list[str]) -> str:
    """Returns what the parser says against these arguments; empty when it takes them."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            PARSER.parse_args(argv)
        except (SystemExit, ValueError) as error:
            return (said.getvalue().strip().splitlines() or [str(error)])[-1]
    return ""


NAMES = sorted({name for action in PARSER._actions for name in action.option_strings})
for line in sys.stdin:
    errors = [error_of(argv) for argv in json.loads(line)]
    print(json.dumps({"errors": errors, "options": NAMES}), flush=True)
