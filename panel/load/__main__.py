"""`python -m pdpanel.panel.load JOB_DIR`: the process of one benchmark, which outlives the panel that started it.

Started detached by `spawn`. The server's key, if there is one, comes on standard input, so that it is on no disk and in
no list of processes. Imports neither torch nor gradio.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ...engine.errors import PdpanelError
from .jobdir import JobDir

__all__ = ["main"]

_LONGEST_KEY = 10_000


def main() -> int:
    """Runs the job in the directory that is named on the command line; returns the exit code."""
    if len(sys.argv) != 2 or not (path := Path(sys.argv[1])).is_absolute():
        print("usage: python -m pdpanel.panel.load JOB_DIR (absolute)", file=sys.stderr)
        return 2
    jobdir = JobDir(path)
    job = jobdir.job()
    if job is None:
        print("The job cannot be read.", file=sys.stderr)
        return 1
    if jobdir.claimed():
        print("Another process has run this job.", file=sys.stderr)
        return 1
    api_key = sys.stdin.read(_LONGEST_KEY).strip()
    try:
        jobdir.claim()
        if job["kind"] == "accuracy":
            from ..accuracy.job import run_accuracy

            run_accuracy(jobdir, job, api_key)
        else:
            from .job import run_load

            run_load(jobdir, job, api_key)
    except (PdpanelError, OSError) as error:
        print(error.strerror if isinstance(error, OSError) and error.strerror else error, file=sys.stderr)
        return 1
    os.chdir("/")
    jobdir.remove()
    return 0


if __name__ == "__main__":
    sys.exit(main())
