"""Serves one loaded worker until SIGTERM or SIGINT: the step loop, the way to the other half, the HTTP API.

The second half of `launch_server`, after flags and ports; `loading` has brought what is heavy.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
import socket
from urllib.parse import urlsplit

from aiohttp import web
from prometheus_client import CollectorRegistry

from .config import Environment, ServerConfig
from .cores import build_core
from .decode_core import DecodeCore
from .errors import ConfigError
from .exchange import DecodeExchange, PrefillExchange
from .http.app import build_app, make_runner
from .loading import Loaded, load
from .log import Stopwatch, record
from .metrics import EngineMetrics
from .net import port_in_use
from .page_checks import PageChecks, PageDigests
from .peer.client import PeerClient
from .peer.health import BootstrapHealth
from .peer.identity import own_process
from .peer.messages import Geometry, Hello
from .peer.metadata_store import MetadataStore
from .peer.server import PeerServer, topology
from .peer.stand_in import standing_in
from .prefill_core import PrefillCore
from .transfer.address import reachable_host
from .worker import Worker

__all__ = ["serve"]


def serve(
    config: ServerConfig,
    environment: Environment,
    watch: Stopwatch,
    listener: socket.socket,
    bootstrap: socket.socket | None,
) -> int:
    """Loads the model and serves; returns the exit code.

    Args:
        watch: times the phases of the start.
        listener: bound socket of the HTTP API.
        bootstrap: bound socket of the bootstrap port, on a prefill worker.

    Raises:
        PdpanelError: the worker cannot start.
    """
    metadata = MetadataStore()
    with contextlib.ExitStack() as stack:
        stand_in = None
        if bootstrap is not None and _may_be_ours(environment.mooncake.metadata_server, config):
            try:
                stand_in = stack.enter_context(standing_in(bootstrap, config.allowed_hosts))
            except OSError:
                raise _bootstrap_in_use(config) from None
        loaded = load(config, environment, watch)
        if stand_in is not None:
            metadata = stand_in.take_over()
    return asyncio.run(_serve(loaded, environment, watch, listener, bootstrap, metadata))


def _may_be_ours(metadata_server: str, config: ServerConfig) -> bool:
    """True when the transport may have to register with this worker's own bootstrap server; false alarms do no harm."""
    split = urlsplit(metadata_server)
    return split.scheme == "http" and split.netloc.endswith(f":{config.disaggregation_bootstrap_port}")


def _bootstrap_in_use(config: ServerConfig) -> ConfigError:
    return port_in_use("--disaggregation-bootstrap-port", config.host, config.disaggregation_bootstrap_port)


async def _serve(
    loaded: Loaded,
    environment: Environment,
    watch: Stopwatch,
    listener: socket.socket,
    bootstrap: socket.socket | None,
    metadata: MetadataStore,
) -> int:
    config, card = loaded.config, loaded.card
    role = config.disaggregation_mode.role
    core = build_core(config, environment, loaded.settings)
    metrics = EngineMetrics(CollectorRegistry(), card.served_name, role)
    checks = None
    if environment.check_pages and isinstance(core, DecodeCore):
        checks = PageChecks(loaded.kv.staging, core.staging, metrics.late_writes)
    environment.failpoints.announce()
    worker = Worker(
        config,
        card,
        loaded.tokenizer,
        metrics,
        core,
        loaded.executor,
        loaded.kv,
        loaded.selection,
        environment.failpoints,
        checks,
    )
    if isinstance(core, PrefillCore):
        await _open_bootstrap(worker, core, loaded, environment, bootstrap, metadata)
    elif isinstance(core, DecodeCore):
        await _open_exchange(worker, core, loaded, environment)
    worker.start()
    ending, at_once = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: (at_once if ending.is_set() else ending).set())
    runner = make_runner(build_app(worker), shutdown_timeout_s=2.0)
    await runner.setup()
    try:
        await web.SockSite(runner, listener, backlog=1024).start()
    except OSError:
        raise port_in_use("--port", config.host, config.port) from None
    watch.lap("http")
    worker.startup = dict(watch.phases)
    record("ready", address=f"{config.host}:{config.port}", role=role, model=card.served_name)
    await ending.wait()
    record("stopping", requests=worker.open_requests, grace_s=config.shutdown_grace_period_secs)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(config.shutdown_grace_period_secs):
            await worker.drain(at_once)
    await worker.stop()
    await runner.cleanup()
    return 1 if worker.dead else 0


async def _open_bootstrap(
    worker: Worker,
    core: PrefillCore,
    loaded: Loaded,
    environment: Environment,
    bootstrap: socket.socket | None,
    metadata: MetadataStore,
) -> None:
    config = loaded.config
    assert bootstrap is not None and loaded.selection is not None
    exchange = PrefillExchange(
        core,
        worker.post,
        loaded.kv,
        loaded.selection.endpoint,
        worker.metrics,
        loaded.settings.max_segment_bytes,
        environment.failpoints,
        _digests(loaded, environment),
    )
    hello = _hello(loaded)
    exchange.server = PeerServer(
        hello,
        topology(hello, config.port),
        exchange,
        names=config.allowed_hosts,
        metadata=metadata,
        load=worker.load,
    )
    exchange.on_lost = worker.answer_lost
    worker.exchange = exchange
    try:
        await exchange.server.start(bootstrap)
    except OSError:
        raise _bootstrap_in_use(config) from None


async def _open_exchange(worker: Worker, core: DecodeCore, loaded: Loaded, environment: Environment) -> None:
    hello = _hello(loaded)
    exchange = DecodeExchange(
        core,
        worker.post,
        loaded.kv,
        worker.metrics,
        vocab_size=loaded.model.shape.vocab,
        process=hello.process,
        failpoints=environment.failpoints,
        digests=_digests(loaded, environment),
    )
    exchange.client = client = PeerClient(hello, exchange, exchange.is_awaited, worker.load)
    exchange.health = BootstrapHealth(
        environment.heartbeat_interval_s,
        environment.heartbeat_max_failures,
        lambda: client.connected,
        client.drop,
    )
    exchange.on_lost = worker.answer_lost
    worker.exchange = exchange
    await exchange.start()


def _digests(loaded: Loaded, environment: Environment) -> PageDigests | None:
    return PageDigests(loaded.kv.staging) if environment.check_pages else None


def _hello(loaded: Loaded) -> Hello:
    config, shape = loaded.config, loaded.model.shape
    assert loaded.selection is not None
    return Hello(
        role=config.disaggregation_mode.role,
        address=f"{reachable_host(config.host)}:{config.port}",  # on all addresses, every host would have one name
        epoch=secrets.randbits(62),
        geometry=Geometry(
            model_sha=loaded.model.model_sha,
            dtype=config.kv_cache_dtype,
            page_size=config.page_size,
            layers=shape.layers,
            kv_heads=shape.kv_heads,
            head_dim=shape.head_dim,
        ),
        endpoint=loaded.selection.endpoint.describe(),
        process=own_process(),
    )
