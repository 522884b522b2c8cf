"""The search for a regular expression, in a process of its own: a bad one runs for hours, and a thread cannot be ended.

`search_expression` is called by the log routes; `main` is the child, which gets the open file from its parent, so that
nobody can put another one in its place. It prints one line of JSON.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from dataclasses import asdict

from ...engine.errors import PdpanelError, RequestError
from .level import Level
from .log_file import LogFile
from .query import LONGEST_QUERY, Query
from .rows import Row
from .scan import Bounds, Scan, scan

__all__ = ["main", "search_expression"]

_PATIENCE_S = 3.0
_MEMORY = 1 << 30


def search_expression(
    file: LogFile, query: Query, at: int, *, backward: bool, bounds: Bounds, patience_s: float = _PATIENCE_S
) -> Scan:
    """Returns what `scan` returns, or ends an expression that takes too long.

    Args:
        file: the log.
        query: with an expression.
        at: as for `scan`.
        backward: as for `scan`.
        bounds: as for `scan`.
        patience_s: how long the child may take in all.

    Raises:
        RequestError: it is no expression, or took too long.
    """
    if len(query.text) > LONGEST_QUERY:
        raise RequestError("query", query.text, "is too long", f"search for at most {LONGEST_QUERY} characters")
    task = {"query": asdict(query), "at": at, "backward": backward, "bounds": asdict(bounds)}
    try:
        ended = subprocess.run(
            [sys.executable, "-P", "-m", __name__, str(file.fileno())],
            input=json.dumps(task).encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=(file.fileno(),),
            timeout=patience_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        remedy = "make it simpler, or search for plain text"
        raise RequestError("query", query.text, "takes too long as an expression", remedy) from None
    try:
        answer = json.loads(ended.stdout)
        if error := answer.get("error"):
            raise RequestError("query", query.text, error, "mend it, or search for plain text")
        rows = tuple(Row(**{**row, "level": Level(row["level"])}) for row in answer["rows"])
        return Scan(rows, answer["at"], answer["done"], answer["size"])
    except (ValueError, KeyError):
        remedy = "make it simpler, or search for plain text"
        raise RequestError("query", query.text, "cannot be searched for", remedy) from None


def main() -> int:
    """Scans the file whose descriptor is named on the command line; the task comes on standard input."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    task = json.load(sys.stdin)
    query = Query(**{**task["query"], "level": Level(task["query"]["level"])})
    file = LogFile(int(sys.argv[1]))
    try:
        found = scan(file, query, task["at"], backward=task["backward"], bounds=Bounds(**task["bounds"]))
        answer: dict[str, object] = asdict(found)
    except RequestError as error:
        answer = {"error": error.problem}
    except PdpanelError as error:
        answer = {"error": str(error)}
    json.dump(answer, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
