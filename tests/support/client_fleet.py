"""One pair of workers behind three routers: the bundled one, sglang-router and its successor smg.

A unified worker beside them is the yardstick: what a router answers must be what the engine answers without any.
Where a foreign router falls short, SHORTCOMINGS says so, and `Front.expecting` holds the tests to it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from cluster import Cluster
from pd_http import free_port

__all__ = ["FRONTS", "MODEL", "SHORTCOMINGS", "Fleet", "Front", "Shortcoming", "fleet"]

MODEL = "SmolLM2-135M-Instruct"
FRONTS = ("bundled", "sglang-router", "smg")
_MODULES = {"sglang-router": "sglang_router.launch_router", "smg": "smg.launch_router"}
_START_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Shortcoming:
    """Something that works behind the bundled router and not behind a foreign one.

    Attributes:
        sentence: what it does instead and why; docs/clients.md has the same words.
        seen: pattern of how a test meets it, in the text of the error.
        always: False where it depends on which of two workers answers first.
    """

    sentence: str
    seen: str
    always: bool = True


_NO_PARAM = "wraps the worker's error in one of its own, without `param`"
_NO_IDS = "takes a string or a list of strings as `prompt`, no token ids"
_NO_ABORT = "has no `/abort_request`: send it to the workers, or close the connection"
_DROPPED = "drops fields that it does not know on `/v1/chat/completions` and `/generate`, so nobody refuses them"
_HOST = (
    "asks the worker for `/get_model_info` under the client's `Host`, which names the router, so the worker refuses it"
)
_STREAMED = "answers a refused stream with the worker's status and an event stream of a Python literal, not of JSON"

SHORTCOMINGS: dict[tuple[str, str], Shortcoming] = {
    ("sglang-router", "continuous usage"): Shortcoming(
        "drops `stream_options.continuous_usage_stats`: only the last chunk has the usage", "counts of tokens are"
    ),
    ("sglang-router", "type of a refusal"): Shortcoming(
        "puts the HTTP reason, such as `Bad Request`, into an error's `type`", "type is Bad Request"
    ),
    ("sglang-router", "param of a refusal"): Shortcoming(_NO_PARAM, "param is None"),
    ("smg", "param of a refusal"): Shortcoming(_NO_PARAM, "param is None"),
    ("sglang-router", "message of a streamed refusal"): Shortcoming(_STREAMED, "AssertionError"),
    ("smg", "message of a streamed refusal"): Shortcoming(
        f"{_STREAMED}, when decode's answer comes before prefill's", "AssertionError", always=False
    ),
    ("sglang-router", "unknown field"): Shortcoming(
        _DROPPED,
        "it was served",
    ),
    ("smg", "other model"): Shortcoming(
        "looks for workers of a model that nobody serves, and answers 503 in place of 404", "InternalServerError"
    ),
    ("sglang-router", "prompts of token ids"): Shortcoming(_NO_IDS, "UnprocessableEntityError"),
    ("smg", "prompts of token ids"): Shortcoming(_NO_IDS, "BadRequestError.*StringOrArray"),
    ("sglang-router", "model by name"): Shortcoming("has no `/v1/models/NAME`", "NotFoundError"),
    ("sglang-router", "unknown field of /generate"): Shortcoming(_DROPPED, "status 200"),
    ("sglang-router", "abort"): Shortcoming(_NO_ABORT, "status 404"),
    ("smg", "abort"): Shortcoming(_NO_ABORT, "status 404"),
    ("sglang-router", "model info"): Shortcoming(_HOST, "HTTPError.*500"),
    ("smg", "model info"): Shortcoming(_HOST, "HTTPError.*500"),
    ("smg", "tokenizer of the workers"): Shortcoming(
        "takes no tokenizer from workers that speak HTTP: `/v1/tokenize` needs a `POST /v1/tokenizers` before it",
        "No tokenizers available",
    ),
    ("smg", "SGLang's client, sglang-oai"): Shortcoming(
        "refuses `best_of` in streams, which SGLang's client sends as 1; `--extra-request-body` can set it to null",
        "best_of is not supported when stream is enabled",
    ),
}


@dataclass(frozen=True, slots=True)
class Front:
    """A router before the shared pair.

    Attributes:
        metrics_url: where it serves /metrics.
    """

    name: str
    url: str
    metrics_url: str

    @contextmanager
    def expecting(self, feature: str) -> Iterator[None]:
        """Runs checks; where SHORTCOMINGS has the feature they must fail, and in the way that it says."""
        known = SHORTCOMINGS.get((self.name, feature))
        try:
            yield
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            if known is None or not re.search(known.seen, said, re.DOTALL):
                raise
            return
        assert known is None or not known.always, (
            f"{self.name} does this now; take it out of SHORTCOMINGS: {known.sentence}"
        )


@dataclass(frozen=True, slots=True)
class Fleet:
    """The workers and their routers."""

    cluster: Cluster
    fronts: dict[str, Front]

    def worker(self, name: str) -> str:
        """Returns the address of prefill-0, decode-0 or unified-0."""
        return self.cluster.processes[name].url


@contextmanager
def fleet(folder: Path, arguments: Sequence[str]) -> Iterator[Fleet]:
    """Starts everything in `folder`; when it ends, no worker may hold a page."""
    made = Cluster(folder)
    foreign: list[subprocess.Popen[bytes]] = []
    try:
        made.worker("unified-0", "null", arguments)
        made.start(arguments, prefill=1, decode=1)
        bundled = made.processes["router"].url
        fronts = {"bundled": Front("bundled", bundled, bundled + "/metrics")}
        prefill, decode = made.processes["prefill-0"], made.processes["decode-0"]
        workers = ["--prefill", prefill.url, str(prefill.bootstrap), "--decode", decode.url]
        for name in _MODULES:
            port, metrics = free_port(), free_port()
            foreign.append(_start(name, workers, port, metrics, folder / f"{name}.log"))
            fronts[name] = Front(name, f"http://127.0.0.1:{port}", f"http://127.0.0.1:{metrics}/metrics")
        for name, process in zip(_MODULES, foreign, strict=True):
            _wait(fronts[name].url, process, folder / f"{name}.log")
        yield Fleet(made, fronts)
        made.wait_idle()
    finally:
        for process in foreign:
            process.kill()  # on SIGTERM they wait for connections that clients keep open
        for process in foreign:
            process.wait(20)
        made.stop()


def _start(name: str, workers: Sequence[str], port: int, metrics: int, log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", _MODULES[name], "--pd-disaggregation", *workers]
    command += ["--host", "127.0.0.1", "--port", str(port), "--policy", "round_robin", "--log-level", "warn"]
    command += ["--prometheus-host", "127.0.0.1", "--prometheus-port", str(metrics)]
    # One try a request: a test wants the first answer of a worker, and no circuit that a refusal opened.
    command += ["--disable-retries", "--disable-circuit-breaker"]
    with log.open("wb") as output:
        return subprocess.Popen(command, stdout=output, stderr=output, env=os.environ | {"HF_HUB_OFFLINE": "1"})


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
        assert process.poll() is None, log.read_text()
        with suppress(OSError), urllib.request.urlopen(url + "/readiness", timeout=5) as answer:
            if json.load(answer)["status"] == "ready":
                return
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
