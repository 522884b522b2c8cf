"""A worker with scripted tokens behind the real HTTP layer, on a real socket."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
import tokenizers
from aiohttp import web
from pdpanel.engine.config import Mode, ServerConfig
from pdpanel.engine.http.app import build_app, make_runner
from pdpanel.engine.http.guard import AllowedHosts
from pdpanel.engine.http.port import ModelCard
from pdpanel.engine.metrics import EngineMetrics
from pdpanel.engine.request import Finish, FinishKind, GenerateRequest, Scores, TokenEvent, TokenLogprobs
from pdpanel.engine.statistics import EngineStatistics, PoolStatistics, TransferStatistics
from pdpanel.engine.text.tokenizer import Tokenizer
from prometheus_client import CollectorRegistry
from tokenizers import decoders, models, pre_tokenizers

SPECIALS = ("<|im_start|>", "<|im_end|>")
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def byte_tokenizer() -> Tokenizer:
    """Every byte is a token, so characters outside ASCII come in pieces."""
    vocab = {letter: index for index, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    backend = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)  # type: ignore[assignment]
    backend.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    backend.add_special_tokens([tokenizers.AddedToken(text, special=True) for text in SPECIALS])
    return Tokenizer(backend, TEMPLATE, {})


@dataclass
class FakeEngine:
    """An engine that says what it is told to.

    Attributes:
        reply: the text it generates; then comes the end token.
        per_event: tokens per event.
        hold_after: after so many tokens it waits until `release`.
        fail_after: after so many tokens it raises or aborts with `failure`.
        refusal: what `submit` raises.
        late_finish: the finish comes as an event of its own.
        ended: rids that were read to their end; `dropped`: those that were not.
    """

    config: ServerConfig
    model: ModelCard
    tokenizer: Tokenizer
    metrics: EngineMetrics
    reply: str = "Hello"
    per_event: int = 1
    hold_after: int | None = None
    fail_after: int | None = None
    failure: Exception | Finish | None = None
    refusal: Exception | None = None
    alive: bool = True
    dead: str = ""
    profiling: Any = None
    busy_flushes: int = 0
    spare: int = 1000
    late_finish: bool = False
    requests: list[GenerateRequest] = field(default_factory=list)
    iterators: list[AsyncGenerator[TokenEvent, None]] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    aborts: list[str] = field(default_factory=list)
    accepted: asyncio.Event = field(default_factory=asyncio.Event)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    release: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def last(self) -> GenerateRequest:
        return self.requests[-1]

    def submit(self, request: GenerateRequest) -> AsyncGenerator[TokenEvent, None]:
        self.requests.append(request)
        self.accepted.set()
        if self.refusal is not None:
            raise self.refusal
        # Kept, so that only an explicit close ends one early, and no garbage collection.
        self.iterators.append(self._events(request))
        return self.iterators[-1]

    async def _events(self, request: GenerateRequest) -> AsyncGenerator[TokenEvent, None]:
        done = False
        try:
            produced = 0
            for event in self._script(request):
                if self.hold_after is not None and produced >= self.hold_after:
                    await self.release.wait()
                if self.fail_after is not None and produced >= self.fail_after:
                    if isinstance(self.failure, Exception):
                        raise self.failure
                    yield TokenEvent(request.rid, (), self.failure)
                    done = True
                    return
                produced += len(event.token_ids)
                done = event.finish is not None
                yield event
                if self.config.disaggregation_mode is Mode.PREFILL:
                    break
                await asyncio.sleep(0)
            if self.config.disaggregation_mode is Mode.PREFILL:
                if self.hold_after is not None:
                    await self.release.wait()
                if self.fail_after is not None and isinstance(self.failure, Finish):
                    yield TokenEvent(request.rid, (), self.failure)
                done = True
        finally:
            (self.ended if done else self.dropped).append(request.rid)
            self.changed.set()

    def _script(self, request: GenerateRequest) -> Iterator[TokenEvent]:
        sampling = request.sampling
        assert sampling.max_new_tokens is not None
        eos = self.model.eos_ids[0]
        ids = [*self.tokenizer.encode(self.reply), eos][: sampling.max_new_tokens]
        for index, token in enumerate(ids):
            if token in sampling.stop_token_ids:
                ids = ids[: index + 1]
                break
        last = ids[-1]
        stopped = last == eos or last in sampling.stop_token_ids
        end = Finish(FinishKind.STOP, last) if stopped else Finish(FinishKind.LENGTH, len(ids))
        step = 1 if self.config.disaggregation_mode is Mode.PREFILL else self.per_event
        for start in range(len(request.replayed_ids), len(ids), step):
            group = tuple(ids[start : start + step])
            is_last = start + step >= len(ids) and not self.late_finish
            scores = self._scores(request, start, group)
            yield TokenEvent(request.rid, group, end if is_last else None, cached_tokens=3, scores=scores)
        if self.late_finish:
            yield TokenEvent(request.rid, (), end)

    def _scores(self, request: GenerateRequest, start: int, tokens: tuple[int, ...]) -> Scores | None:
        """Token i of the output has -i - 1, the prompt's -100 - place; the likeliest others are 0.5 apart."""
        wanted = request.logprobs
        if wanted is None:
            return None

        def score(value: float, token: int) -> TokenLogprobs:
            top = tuple((value - rank / 2, token + rank) for rank in range(wanted.top))
            return TokenLogprobs(value, top, tuple((-9.0, named) for named in wanted.token_ids))

        prompt: tuple[TokenLogprobs, ...] = ()
        if start == 0 and self.config.disaggregation_mode is not Mode.DECODE:
            places = range(wanted.start + 1, len(request.prompt_ids))
            prompt = tuple(score(-100.0 - place, request.prompt_ids[place]) for place in places)
        return Scores(tuple(score(-1.0 - start - i, token) for i, token in enumerate(tokens)), prompt)

    def abort(self, rid: str) -> bool:
        self.aborts.append(rid)
        return rid != "unknown"

    def statistics(self) -> EngineStatistics:
        pools = PoolStatistics(10, 7, 2, 1)
        return EngineStatistics(
            running=2,
            queued=3,
            transfer_queue=1,
            used_tokens=32,
            max_total_tokens=160,
            slot=pools,
            staging=None if self.config.disaggregation_mode is Mode.UNIFIED else pools,
            startup={"weights": 0.5, "server": 0.25},
            transfer=TransferStatistics("mooncake", "tcp", "no mooncake"),
        )

    async def flush_cache(self) -> bool:
        self.busy_flushes -= 1
        return self.busy_flushes < 0


@dataclass(frozen=True)
class Reply:
    """One response, read whole."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        return self.json["error"]

    @property
    def lines(self) -> list[str]:
        return self.body.decode().split("\n\n")[:-1]

    @property
    def events(self) -> list[tuple[int | None, Any]]:
        """Number and data of each event before [DONE], whose presence is checked."""
        assert self.headers["Content-Type"].startswith("text/event-stream")
        assert self.lines[-1] == "data: [DONE]"
        return [parse_event(event) for event in self.lines[:-1]]

    @property
    def data(self) -> list[Any]:
        return [data for _, data in self.events]


def parse_event(event: str) -> tuple[int | None, Any]:
    number, line = None, event
    if event.startswith("id: "):
        head, line = event.split("\n", 1)
        number = int(head.removeprefix("id: ").split(" ")[0])
    assert line.startswith("data: ")
    return number, json.loads(line.removeprefix("data: "))


@asynccontextmanager
async def serve(engine: FakeEngine) -> AsyncIterator[tuple[aiohttp.ClientSession, int]]:
    """A client and the port of a server for `engine`."""
    # asyncio objects belong to the running loop.
    engine.accepted, engine.changed, engine.release = asyncio.Event(), asyncio.Event(), asyncio.Event()
    runner = make_runner(build_app(engine, AllowedHosts.of("127.0.0.1", None)), shutdown_timeout_s=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            yield session, port
    finally:
        await runner.cleanup()


async def exchange(session: aiohttp.ClientSession, method: str, path: str, **options: Any) -> Reply:
    async with session.request(method, path, **options) as response:
        return Reply(response.status, dict(response.headers), await response.read())


Ask = Callable[..., Reply]


@pytest.fixture
def ask() -> Ask:
    """`ask(engine, "/path", body)` posts JSON; `ask(engine, "/path")` gets; options go to aiohttp."""

    def call(engine: FakeEngine, path: str, body: object = None, method: str = "", **options: Any) -> Reply:
        async def main() -> Reply:
            async with serve(engine) as (session, _):
                verb = method or ("GET" if body is None and "data" not in options else "POST")
                if body is not None:
                    options["json"] = body
                return await exchange(session, verb, path, **options)

        return asyncio.run(main())

    return call


MakeEngine = Callable[..., FakeEngine]


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return byte_tokenizer()


@pytest.fixture
def make_engine(tokenizer: Tokenizer) -> MakeEngine:
    def make(mode: Mode = Mode.UNIFIED, context_length: int = 64, **options: Any) -> FakeEngine:
        settings = {name: options.pop(name) for name in ServerConfig.__dataclass_fields__ if name in options}
        config = ServerConfig("/models/tiny", disaggregation_mode=mode, **settings)
        eos = tokenizer.token_id("<|im_end|>")
        assert eos is not None
        card = ModelCard(
            "tiny",
            "/models/tiny",
            "/models/tiny",
            ("LlamaForCausalLM",),
            "llama",
            context_length,
            tokenizer.vocab_size,
            (eos,),
        )
        metrics = EngineMetrics(CollectorRegistry(), "tiny", mode.role)
        return FakeEngine(config, card, tokenizer, metrics, **options)

    return make


@pytest.fixture
def engine(make_engine: MakeEngine) -> FakeEngine:
    return make_engine()


@pytest.fixture
def serving() -> Callable[[FakeEngine], Any]:
    """Gives a context of (session, port) for an engine."""
    return serve


@pytest.fixture
def live() -> Callable[[FakeEngine], Any]:
    """Gives a context with the URL of a server in a thread, for clients that block."""

    @contextmanager
    def run(engine: FakeEngine) -> Iterator[str]:
        started, ports = threading.Event(), []
        loop = asyncio.new_event_loop()
        stop = asyncio.Event()

        async def main() -> None:
            async with serve(engine) as (_, port):
                ports.append(port)
                started.set()
                await stop.wait()

        thread = threading.Thread(target=lambda: loop.run_until_complete(main()))
        thread.start()
        try:
            assert started.wait(10)
            yield f"http://127.0.0.1:{ports[0]}"
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join(10)
            loop.close()

    return run
