"""What one rank loads: its weights, KV memory and transport, and its place in a process group. The same on every rank.

`first_rank` and `follower` call it, in two steps: `open_parts` is a rank's own business, `join_group` needs all of
them. Imports torch.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch._C._distributed_c10d import Store

from ..config import Environment, Mode, ServerConfig
from ..errors import TransferError
from ..execution import AUTO_KV_DTYPE, DTYPES
from ..gpu.placement import CPU, device_of
from ..kv import KVCache, bounce_pages_of
from ..log import record
from ..model.shape import ModelShape
from ..model.store import ResolvedModel
from ..model.weights import Weights, load_weights
from ..profiling_spans import Spans
from ..profiling_trace import RankProfile
from ..transfer.api import Endpoint, EndpointInfo, TransferSettings
from ..transfer.select import SHARED_MEMORY, Selection, open_endpoint
from ..vision.checkpoint import has_vision_part
from ..vision.embeddings import EmbeddingStore
from .agreement import ranks_of
from .carrier import RankCarrier
from .collective import open_collective
from .experts import ExpertExchange, open_exchange
from .frames import Form
from .image_rows import RankRows
from .layout import ParallelSizes, RankShard, shards_of
from .meter import Meter
from .orders import Report
from .placement import Placement, placed_again, renumbered, spread
from .ranks import Rank
from .sharded import ShardedLlama
from .shards import part_shape
from .shipment import RankPlace

__all__ = ["RankParts", "join_group", "open_parts", "regrouped", "renewed", "settle", "spread_of", "take_cores"]

_QUIET_S = 4.0


def settle(config: ServerConfig) -> ServerConfig:
    """Returns the configuration with the types that `auto` stands for."""
    dtype, kv_dtype = config.dtype, config.kv_cache_dtype
    if dtype == "auto":
        is_gpu = device_of(config).type == "cuda"
        dtype = "bfloat16" if is_gpu and torch.cuda.is_bf16_supported() else "float32"
    return replace(config, dtype=dtype, kv_cache_dtype=AUTO_KV_DTYPE if kv_dtype == "auto" else kv_dtype)


def spread_of(shape: ModelShape, config: ServerConfig) -> tuple[RankShard, ...]:
    """Returns what each rank of a worker has."""
    return shards_of(shape, config.sizes)


def take_cores(config: ServerConfig) -> None:
    """Has torch compute with as many threads as asked, or with the rank's share of this node's cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = max(1, cores // len(ranks_of(config, config.node_rank)))
    torch.set_num_threads(config.threads or min(torch.get_num_threads(), share))


@dataclass(frozen=True, slots=True)
class RankParts:
    """What a rank has of its own, before it is in a group.

    Attributes:
        number: the rank.
        ranks: those that the model is spread over; at first all of the worker.
        shards: of each of `ranks`, in their order.
        placement: the experts of each of `ranks`; None where they are not shared out.
        weights: of the whole model, mapped from the file.
        selection: the transport; None on a unified worker.
        open_transport: opens another one, with nothing registered yet.
        images: embeddings of images, on the first rank; None on the others, and where the model takes text alone.
    """

    number: int
    config: ServerConfig
    environment: Environment
    model: ResolvedModel
    ranks: tuple[int, ...]
    shards: tuple[RankShard, ...]
    placement: Placement | None
    weights: Weights
    kv: KVCache
    settings: TransferSettings
    selection: Selection | None
    device: torch.device
    context_length: int
    open_transport: Callable[[TransferSettings], Selection]
    images: EmbeddingStore | None = None

    @property
    def shard(self) -> RankShard:
        """What this rank computes."""
        return self.shards[self.ranks.index(self.number)]

    def shard_of(self, rank: int) -> RankShard | None:
        """Returns what a rank computes; None for one that is gone."""
        return self.shards[self.ranks.index(rank)] if rank in self.ranks else None

    def experts_of(self, rank: int) -> tuple[int, ...]:
        """Returns the experts that a rank has, or has parts of."""
        shard = self.shard_of(rank)
        if self.placement is not None:
            return self.placement.get(rank, ())
        return tuple(shard.experts) if shard is not None else ()

    @property
    def endpoint(self) -> EndpointInfo | None:
        """How peers reach this rank's staging memory."""
        return self.selection.endpoint.describe() if self.selection is not None else None

    def carrier(self, report: Callable[[Report], None]) -> RankCarrier | None:
        """Returns the rank's own part of moving KV; None on a worker that transfers nothing."""
        if self.selection is None:
            return None
        writes = self.config.disaggregation_mode is Mode.PREFILL
        return RankCarrier(
            RankPlace.of(self.shards, self.ranks.index(self.number), self.number),
            self.kv,
            self.selection.endpoint if writes else None,
            report,
            checks=self.environment.check_pages,
            max_segment=self.settings.max_segment_bytes,
            hard_timeout_s=self.settings.hard_timeout_s,
        )


def _device(config: ServerConfig, number: int) -> torch.device:
    """Returns what a rank computes on: the node's ranks take its visible GPUs in turn."""
    device = device_of(config)
    if device.type == "cpu":
        return CPU
    local = number - ranks_of(config, config.node_rank).start
    return torch.device("cuda", (config.base_gpu_id + local) % torch.cuda.device_count())


def open_parts(
    config: ServerConfig,
    environment: Environment,
    model: ResolvedModel,
    number: int,
    context_length: int,
    open_transport: Callable[[TransferSettings], Selection],
    images: EmbeddingStore | None = None,
) -> RankParts:
    """Loads what is a rank's own.

    Args:
        config: as `settle` returns it.
        open_transport: opens an endpoint with nothing registered yet; called unless the worker is unified.
        images: see `RankParts`.

    Raises:
        PdpanelError: the weights, the memory or the transport cannot be had.
    """
    experts = model.shape.experts
    shards, device = spread_of(model.shape, config), _device(config, number)
    kv = _kv(config, model.shape, shards, number, device)
    placement = spread(experts.count, config.tp_size) if experts is not None and config.ep_size > 1 else None
    ranks = tuple(range(config.tp_size))
    settings = TransferSettings(queues=environment.queue_size, threads=environment.thread_pool_size)
    selection = _transport(config, kv, settings, open_transport)
    weights = load_weights(model.directory, model.shape)
    return RankParts(
        number,
        config,
        environment,
        model,
        ranks,
        shards,
        placement,
        weights,
        kv,
        settings,
        selection,
        device,
        context_length,
        open_transport,
        images,
    )


def _transport(
    config: ServerConfig, kv: KVCache, settings: TransferSettings, opened: Callable[[TransferSettings], Selection]
) -> Selection | None:
    """Returns what peers reach the staging pages by; None on a unified worker."""
    if config.disaggregation_mode is Mode.UNIFIED:
        return None
    selection = opened(settings)
    selection.endpoint.register(kv.staging_address, kv.staging_bytes, kv.staging_file)
    return selection


def _kv(
    config: ServerConfig, shape: ModelShape, shards: Sequence[RankShard], place: int, device: torch.device
) -> KVCache:
    """Returns memory for the KV heads of one of `shards`."""
    mode, pages = config.disaggregation_mode, config.max_total_tokens // config.page_size
    return KVCache(
        part_shape(shape, shards[place], len(shards)),
        pages=pages,
        page_size=config.page_size,
        dtype=DTYPES[config.kv_cache_dtype],
        staging=mode is not Mode.UNIFIED,
        shared=config.disaggregation_transfer_backend in SHARED_MEMORY,
        device=None if device.type == "cpu" else device,
        bounce_pages=bounce_pages_of(pages) if mode is Mode.PREFILL else 0,
    )


def regrouped(parts: RankParts, ranks: tuple[int, ...]) -> RankParts:
    """Returns a rank's parts where only `ranks` are left: their shards and their experts; KV memory is as it was.

    For workers with one attention group; every rank that is left gets the same answer for all of them.
    """
    count, shape = len(ranks), parts.model.shape
    shards = shards_of(shape, ParallelSizes(count, ep=count))
    placement = placed_again(parts.placement, set(parts.ranks) - set(ranks)) if parts.placement is not None else None
    return replace(parts, ranks=ranks, shards=shards, placement=placement)


def renewed(parts: RankParts, carrier: RankCarrier | None) -> RankParts:
    """Returns a rank's parts with empty KV memory for its shards, and a transport of its own for that.

    The old memory goes once nobody can read or write it any more: the links and the endpoint that know it are closed
    before. Peers write into it without asking, so that there is no other way to be sure.

    Args:
        carrier: what moved KV until now; None where there was none.

    Raises:
        TransferError: the old transport does not end, or none can be opened.
    """
    if parts.selection is not None:
        _end_transfers(carrier, parts.selection.endpoint)
    parts.kv.drop()
    kv = _kv(parts.config, parts.model.shape, parts.shards, parts.ranks.index(parts.number), parts.device)
    return replace(parts, kv=kv, selection=_transport(parts.config, kv, parts.settings, parts.open_transport))


def _end_transfers(carrier: RankCarrier | None, endpoint: Endpoint) -> None:
    """Returns when nothing is under way from or into the endpoint's memory any more.

    Raises:
        TransferError: that takes too long.
    """
    problems: list[str] = ["it has not ended"]

    def end() -> None:
        try:
            if carrier is not None:
                carrier.abandon()
            endpoint.close()
        except Exception as error:
            problems.append(repr(error))
        else:
            problems.clear()

    ending = threading.Thread(target=end, name="ending transfers", daemon=True)
    ending.start()
    ending.join(_QUIET_S)
    if problems:
        text = f"KV memory cannot be given up while transfers may use it: within {_QUIET_S:g} s, {problems[-1]}."
        raise TransferError(text, quiesced=False)


def join_group(
    parts: RankParts, store: Store, form: Form, host: str, meter: Meter, report: Callable[[Report], None]
) -> Rank:
    """Enters a process group with the other ranks and returns this one ready to compute.

    Args:
        parts: for the ranks that `form` names.
        host: address of this rank that the others reach it at.
        report: takes what the first rank is to know.

    Raises:
        RankError: another rank is gone, or does not come.
        PdpanelError: experts cannot be exchanged as asked.
    """
    config, shape = parts.config, parts.model.shape
    group = open_collective(
        store,
        f"group {form.generation}",
        form.ranks.index(parts.number),
        len(form.ranks),
        host=host,
        backend=form.backend,
        timeout_s=config.dist_timeout,
    )
    meter.exchanges_in(group)
    dtype = DTYPES[config.dtype]
    exchange: ExpertExchange | None = None
    placement = parts.placement
    if shape.experts is not None:
        width = shape.hidden * dtype.itemsize
        endpoint = _expert_endpoint(parts) if len(form.ranks) > 1 else None
        exchange = open_exchange(
            config.moe_a2a_backend,
            shape.experts,
            group,
            renumbered(placement) if placement is not None else {},
            row_width=width,
            endpoint=endpoint.endpoint if endpoint is not None else None,
            timeout_s=config.dist_timeout,
            device=parts.device if form.backend == "nccl" else None,
        )
    model = ShardedLlama(
        shape,
        parts.weights,
        parts.shards,
        group,
        parts.context_length,
        place=lambda tensor: tensor.to(device=parts.device, dtype=dtype),
        experts=placement[parts.number] if placement is not None else None,
        expert_layer=exchange,
        images=RankRows(group, shape.hidden, parts.images) if has_vision_part(parts.model.directory) else None,
    )
    profile, carrier = RankProfile(parts.number, Spans()), parts.carrier(report)
    if carrier is not None:
        carrier.noted = profile.spans
    # The first rank's step loop makes its own profile.
    profiler = profile if parts.number else None

    def leave() -> None:
        group.close()
        if exchange is not None:
            exchange.close()

    return Rank(parts.number, parts.shard.group, model, parts.kv, carrier, meter, report, profiler, leave)


def _expert_endpoint(parts: RankParts) -> Selection | None:
    """Returns the transport by which tokens travel to their experts, where it is one of KV's."""
    config = parts.config
    if config.moe_a2a_backend != "mooncake":
        return None
    selection = open_endpoint(
        "mooncake",
        host=config.host,
        device=config.disaggregation_ib_device,
        settings=parts.settings,
        environ=parts.environment.process,
        mooncake=parts.environment.mooncake,
        port=config.port,
    )
    record("expert_transport", requested="mooncake", used=selection.used, notice=selection.notice)
    return selection
