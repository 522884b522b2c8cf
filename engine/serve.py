"""Serves one loaded worker until SIGTERM or SIGINT: the step loop, the way to the other half, the HTTP API.

The second half of `launch_server`, after flags and ports; `loading` has brought what is heavy.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
import sys
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry

from .config import Environment, ServerConfig
from .cores import DecodeSide, PrefillSide, build_core
from .errors import ConfigError
from .exchange import DecodeExchange, PrefillExchange
from .http.app import build_app, make_runner
from .loading import Loaded, load
from .log import Stopwatch, record
from .metrics import EngineMetrics
from .net import port_in_use
from .page_checks import PageChecks, PageDigests
from .parallel.groups import DecodeGroups
from .peer.client import PeerClient
from .peer.health import BootstrapHealth
from .peer.identity import own_process
from .peer.messages import Geometry, Hello
from .peer.metadata_store import MetadataStore
from .peer.server import PeerServer, topology
from .peer.stand_in import standing_in
from .resident import processor_seconds, resident_bytes
from .service import Ending, listening
from .statistics import RankStatistics
from .transfer.address import reachable_host
from .worker import Worker

if TYPE_CHECKING:
    from .parallel.first_rank import FirstRank
    from .parallel.node import NodeRanks

__all__ = ["serve"]


def serve(
    config: ServerConfig,
    environment: Environment,
    watch: Stopwatch,
    listener: socket.socket,
    bootstrap: socket.socket | None,
    ranks: NodeRanks | None = None,
) -> int:
    """Loads the model and serves; returns the exit code.

    Args:
        watch: times the phases of the start.
        listener: bound socket of the HTTP API.
        bootstrap: bound socket of the bootstrap port, on a prefill worker.
        ranks: the other ranks of this node; None for a worker of one.

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
        loaded = load(config, environment, watch, ranks)
        if stand_in is not None:
            metadata = stand_in.take_over()
    code = asyncio.run(_serve(loaded, environment, watch, listener, bootstrap, metadata))
    if code and ranks is not None:  # a step may wait for a rank that is gone, and would not let the process end
        sys.stderr.flush()
        os._exit(code)
    return code


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
    registry = CollectorRegistry()
    metrics = EngineMetrics(registry, card.served_name, role, config.attn_dp_size)
    checks = None
    if environment.check_pages and isinstance(core, DecodeSide):
        first = core.cores[0] if isinstance(core, DecodeGroups) else core  # whose pages are in this process
        checks = PageChecks(loaded.kv.staging, first.staging, metrics.late_writes)
    digests = None
    if environment.check_pages and loaded.selection is not None:
        digests = PageDigests(loaded.kv.staging)
    environment.failpoints.announce()
    make = Worker if loaded.images is None else loaded.images.worker(config, card, registry)
    worker = make(
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
        loaded.ranks.groups if loaded.ranks is not None else (),
        loaded.ranks.statistics if loaded.ranks is not None else partial(_only_rank, loaded),
    )
    if isinstance(core, PrefillSide):
        await _open_bootstrap(worker, core, loaded, environment, bootstrap, metadata, digests)
    elif isinstance(core, DecodeSide):
        await _open_exchange(worker, core, loaded, environment, digests)
    worker.start()
    ending = Ending()
    async with listening(make_runner(build_app(worker), shutdown_timeout_s=2.0), listener, config):
        watch.lap("http")
        worker.startup = dict(watch.phases)
        if loaded.ranks is not None:
            renewed = partial(_renewed, worker, loaded, loaded.ranks, checks, digests)
            loaded.ranks.serve(worker.fatal, worker.ranks_changed, worker.leave_peers, renewed)
        record("ready", address=f"{config.host}:{config.port}", role=role, model=card.served_name)
        await ending.drained(worker, config.shutdown_grace_period_secs)
        await worker.stop()
        if loaded.ranks is not None:
            await asyncio.to_thread(loaded.ranks.stop, worker.dead)
    return 1 if worker.dead else 0


def _only_rank(loaded: Loaded) -> tuple[RankStatistics, ...]:
    """Returns what the only rank of a worker is and has."""
    shape = loaded.model.shape
    experts = tuple(range(shape.experts.count)) if shape.experts is not None else ()
    return (
        RankStatistics(
            rank=0,
            pid=os.getpid(),
            node=0,
            host=socket.gethostname(),
            group=0,
            heads=(0, shape.heads),
            kv_heads=(0, shape.kv_heads),
            experts=experts,
            cpu_s=processor_seconds(),
            memory=resident_bytes(),
        ),
    )


async def _open_bootstrap(
    worker: Worker,
    core: PrefillSide,
    loaded: Loaded,
    environment: Environment,
    bootstrap: socket.socket | None,
    metadata: MetadataStore,
    digests: PageDigests | None,
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
        digests,
        loaded.ranks.carrier if loaded.ranks is not None else None,
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
    exchange.note(worker.noted)
    worker.exchange = exchange
    try:
        await exchange.server.start(bootstrap)
    except OSError:
        raise _bootstrap_in_use(config) from None


async def _open_exchange(
    worker: Worker, core: DecodeSide, loaded: Loaded, environment: Environment, digests: PageDigests | None
) -> None:
    hello = _hello(loaded)
    exchange = DecodeExchange(
        core,
        worker.post,
        loaded.kv,
        worker.metrics,
        vocab_size=loaded.model.shape.vocab,
        process=hello.process,
        failpoints=environment.failpoints,
        digests=digests,
        carrier=loaded.ranks.carrier if loaded.ranks is not None else None,
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


def _renewed(
    worker: Worker, loaded: Loaded, ranks: FirstRank, checks: PageChecks | None, digests: PageDigests | None
) -> None:
    """Takes note that a worker goes on with fewer ranks and other memory; on the step loop's thread."""
    for kept in (checks, digests):
        if kept is not None:
            kept.renew(ranks.kv.staging)
    worker.come_back(ranks.selection, _hello(loaded) if worker.exchange is not None else None)


def _hello(loaded: Loaded) -> Hello:
    config, shape, ranks = loaded.config, loaded.model.shape, loaded.ranks
    selection = ranks.selection if ranks is not None else loaded.selection
    assert selection is not None
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
        endpoint=selection.endpoint.describe(),
        process=own_process(),
        ranks=ranks.peer_ranks() if ranks is not None else (),
    )
