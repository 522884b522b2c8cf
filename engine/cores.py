"""Builds the core that a worker's mode asks for, with the pools and limits of its configuration.

A worker with DP attention gets one for each attention group, joined: each has pools of the whole size, since the ranks
of a group have memory of their own, and its share of the sequences that run.
"""

from __future__ import annotations

from .config import Environment, Mode, ServerConfig
from .decode_core import DecodeCore
from .pages import PagePool
from .parallel.balance import Balancer, LoadBalance, resolved
from .parallel.groups import DecodeGroups, PrefillGroups, UnifiedGroups
from .prefill_core import PrefillCore
from .schedule import Schedule
from .transfer.api import TransferSettings
from .unified_core import UnifiedCore

__all__ = ["AnyCore", "DecodeSide", "PrefillSide", "build_core"]

PrefillSide = PrefillCore | PrefillGroups
DecodeSide = DecodeCore | DecodeGroups
AnyCore = UnifiedCore | UnifiedGroups | PrefillSide | DecodeSide

# So many rows keep the cores of a CPU as busy as more do.
_PACK_TOKENS = 128
# Half of decode's staging pool is given out at a time: enough to keep prefill busy, and what is never touched costs
# no resident memory.
_STAGING_SHARE = 0.5


def build_core(config: ServerConfig, environment: Environment, settings: TransferSettings) -> AnyCore:
    """Returns the decisions of a worker.

    Raises:
        ConfigError: its groups cannot be balanced as asked.
    """
    builder = _Builder(config, environment, settings)
    groups = config.sizes.attn_dp
    mode = config.disaggregation_mode
    if groups == 1:
        return {Mode.PREFILL: builder.prefill, Mode.DECODE: builder.decode, Mode.UNIFIED: builder.unified}[mode]()
    method = resolved(LoadBalance(config.load_balance_method), has_rooms=mode is not Mode.UNIFIED)
    balancer, each = Balancer(method), range(groups)
    if mode is Mode.PREFILL:
        return PrefillGroups((builder.prefill() for _ in each), balancer)
    if mode is Mode.DECODE:
        return DecodeGroups((builder.decode() for _ in each), balancer)
    return UnifiedGroups((builder.unified() for _ in each), balancer)


class _Builder:
    def __init__(self, config: ServerConfig, environment: Environment, settings: TransferSettings) -> None:
        self._config = config
        self._environment = environment
        self._settings = settings
        self._pages = config.max_total_tokens // config.page_size

    def _schedule(self) -> Schedule:
        config, mode = self._config, self._config.disaggregation_mode
        return Schedule(
            PagePool(self._pages),
            page_size=config.page_size,
            chunk_tokens=config.chunked_prefill_size,
            max_running=-(-config.max_running_requests // config.sizes.attn_dp),
            reserve_tokens=0 if mode is Mode.PREFILL else config.num_reserved_decode_tokens,
            pack_tokens=None if config.device == "cuda" else _PACK_TOKENS,
            mixed=config.enable_mixed_chunk and mode is not Mode.PREFILL,  # prefill has nothing to mix with
        )

    def unified(self) -> UnifiedCore:
        return UnifiedCore(self._schedule())

    def prefill(self) -> PrefillCore:
        return PrefillCore(
            self._schedule(),
            PagePool(self._pages),
            bootstrap_timeout_s=self._environment.bootstrap_timeout_s,
            hard_timeout_s=self._settings.hard_timeout_s,
            radix_cache=not self._config.disable_radix_cache,
        )

    def decode(self) -> DecodeCore:
        return DecodeCore(
            self._schedule(),
            PagePool(self._pages),
            staging_share=_STAGING_SHARE,
            waiting_timeout_s=self._environment.waiting_timeout_s,
            fence_s=self._settings.hard_timeout_s,
            gives_way=self._config.yield_to_prefill,
        )
