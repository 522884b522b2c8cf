"""Judges argument lists by sglang-router's own parser and checks: JSON lists in, one JSON list of errors out."""

from __future__ import annotations

import contextlib
import io
import json
import sys

from sglang_router.launch_router import parse_router_args


def main() -> None:
    errors: list[str] = []
    for argv in json.load(sys.stdin):
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            try:
                parse_router_args(argv)._validate_router_args()
                errors.append("")
            except SystemExit:
                errors.append(said.getvalue().strip().splitlines()[-1])
            except ValueError as error:
                errors.append(str(error))
    json.dump({"errors": errors}, sys.stdout)


main()
