"""`python -m pdpanel.engine.launch_rank`: one rank of a worker beside the first, started by a process of its node.

What it is to do comes as one line of JSON on standard input, which stays open as long as the parent lives; words for
the parent go to standard output, and whatever else is printed goes to the log. Ends with its parent, whatever that died
of, and takes no signals of the terminal: the first rank tells it when to stop.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading

import msgspec

from .config import read_environment
from .errors import PdpanelError
from .importing import QUIET_TORCH, without_collection
from .log import configure_logging
from .parallel.children import RankStart

__all__ = ["main"]

_PR_SET_PDEATHSIG = 1


def _die_with(parent: int) -> None:
    """Has the kernel end this process with its parent; where it cannot, the end of standard input does."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _end_with_input() -> None:
    while os.read(0, 4096):
        pass
    os._exit(1)


def main() -> int:
    """Runs the rank; what goes wrong is a word for the parent."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    start = msgspec.json.decode(sys.stdin.buffer.readline(), type=RankStart)
    _die_with(start.parent)
    threading.Thread(target=_end_with_input, name="parent", daemon=True).start()
    words = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)

    def say(word: str) -> None:
        print(word.replace("\n", " "), file=words, flush=True)

    configure_logging(start.config.log_level, rank=start.rank)
    environment = read_environment()
    for name, value in QUIET_TORCH.items():
        environment.process.setdefault(name, value)
    try:
        with without_collection():
            from .parallel.follower import follow
        return follow(start, environment, say)
    except PdpanelError as error:
        say(f"failed {error}")
        return 2


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    # Threads of transports and collectives may wait for ranks that are gone.
    os._exit(code)
