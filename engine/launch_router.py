"""`python -m pdpanel.engine.launch_router`: the bundled router as a process.

Listens, says so in one log line ("listening" with the url), and serves until SIGTERM or SIGINT. Open requests may end
within --shutdown-grace-period-secs then; what is left gets an error event. Exit code 2 and one sentence for flags that
cannot be used.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from .errors import ConfigError
from .importing import without_collection
from .router.arguments import parse_router_arguments

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the router; returns the exit code."""
    try:
        config = parse_router_arguments(sys.argv[1:] if argv is None else argv)
        with without_collection():
            from .router.process import run  # After the flags: a wrong one needs no HTTP library.

        run(config)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
