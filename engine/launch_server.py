"""`python -m pdpanel.engine.launch_server`: starts one worker from SGLang's flags.

The order is chosen for speed and for early, clear failure: flags and ports first, then what is heavy. Each phase is
logged with its seconds and stands in /server_info.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from .arguments import parse_server_arguments
from .config import ServerConfig, read_environment
from .errors import PdpanelError

__all__ = ["main"]


def run(config: ServerConfig) -> int:
    """Serves until SIGTERM or SIGINT; returns the exit code."""
    from .importing import LEAN_PILLOW, QUIET_TORCH, without_collection
    from .log import Stopwatch, configure_logging, record
    from .net import bind_listener

    configure_logging(config.log_level)
    watch = Stopwatch()
    environment = read_environment()
    listener = bind_listener("--port", config.host, config.port)
    bootstrap = None
    if config.disaggregation_mode.value == "prefill" and config.node_rank == 0:
        flag = "--disaggregation-bootstrap-port"
        bootstrap = bind_listener(flag, config.host, config.disaggregation_bootstrap_port)
    ranks = None
    if config.tp_size > 1:
        from .parallel.node import serve_node, start_ranks

        ranks = start_ranks(config, environment)  # they import what this process imports at the same time
        if config.node_rank:
            return serve_node(config, listener, ranks)
    record("stage", stage="importing")
    for name, value in (QUIET_TORCH | LEAN_PILLOW).items():
        environment.process.setdefault(name, value)
    with without_collection():
        import torch  # noqa: F401  (its seconds are a phase of their own)

        watch.lap("import torch")
        if config.encoder_only:
            from .encoder_server import serve_encoder

            watch.lap("import engine")
            return serve_encoder(config, environment, watch, listener)
        from .serve import serve

        watch.lap("import engine")
    return serve(config, environment, watch, listener, bootstrap, ranks)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; errors are one sentence on stderr and exit code 2."""
    try:
        return run(parse_server_arguments(sys.argv[1:] if argv is None else argv))
    except PdpanelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
