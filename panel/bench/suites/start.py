"""`pdpanel bench start`: from `pdpanel up` to the first token, against `import torch` measured in the same rounds.

The first start is left out: it prepares the model and fills the file cache. Every further round imports torch in a
fresh interpreter and starts a prefill and a decode worker, in an order that turns. The phases are of the same starts.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ....engine.errors import PeerError
from ...config import inherited_environment
from ...runs import Runs
from ..comparison import Comparison, Goal, interleave
from ..session import deployment
from ..small_model import write_small_model
from ..suite import SuiteOptions
from .start_run import Start, start_once

__all__ = ["import_torch", "measure"]

_CASE = "1p1d"
_OURS = "up to first token"
_PEER = "import torch"
_NOTE = (
    "The peer is `python -c 'import torch'`, from its start to its end. Here two workers import torch at the same time "
    "on the cores that there are, beside router, runner and command; the phases tell where the rest goes."
)


def import_torch() -> float:
    """Returns the seconds of a fresh interpreter that imports torch and ends."""
    began = time.perf_counter()
    ended = subprocess.run([sys.executable, "-c", "import torch"], capture_output=True, check=False)
    if ended.returncode:
        said = ended.stderr.decode(errors="replace").splitlines()[-1:]
        raise PeerError(f"torch cannot be imported: {' '.join(said)}.")
    return time.perf_counter() - began


def measure(options: SuiteOptions, runs: Runs, tell: Callable[[str], None]) -> Iterator[Comparison]:
    """Yields the time to the first token against `import torch`, by itself, and by phases.

    Raises:
        PeerError: no run comes up.
    """
    if not options.wants(_CASE):
        return
    with tempfile.TemporaryDirectory(prefix="pdpanel-start-") as folder:
        home = Path(folder)
        arguments, cache_dir = ["--model", options.model], _cache_dir(runs, options.model)
        if options.short:
            arguments = ["--model", str(write_small_model(home / "model")), "--transport", "tcp"]
            cache_dir = str(home / "cache")
        environment = inherited_environment() | {"PDPANEL_CACHE_DIR": cache_dir}
        starts: list[Start] = []

        def start() -> float:
            found = start_once(environment, home / "state", arguments)
            starts.append(found)
            tell(f"{found.seconds:.2f} s to the first token")
            return found.seconds

        if not options.short:
            tell("a start that is not counted, to warm what is cached")
            start()
            starts.clear()
        rounds = 1 if options.short else options.rounds
        times = interleave({_OURS: start, _PEER: import_torch}, rounds)
    yield Comparison(_CASE, "up_to_first_token", "s", times[_OURS], _PEER, times[_PEER], Goal(at_most=2), _NOTE)
    yield Comparison(_CASE, "up_to_first_token_seconds", "s", times[_OURS], goal=Goal(at_most=8))
    for phase in starts[0].phases:
        values = [found.phases.get(phase, 0.0) for found in starts]
        share = statistics.median(values) / statistics.median(times[_OURS])
        yield Comparison(f"{_CASE},phase={phase}", "phase", "s", values, note=f"{share:.0%} of the start")


def _cache_dir(runs: Runs, model: str) -> str:
    """Returns the folder of models that these runs use."""
    prepare = runs.preview(deployment("bench-start", {"unified": 1}, model=model, transport="tcp")).prepare
    assert prepare is not None
    return prepare.cache_dir
