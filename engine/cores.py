"""Builds the core that a worker's mode asks for, with the pools and limits of its configuration."""

from __future__ import annotations

from .config import Environment, Mode, ServerConfig
from .decode_core import DecodeCore
from .pages import PagePool
from .prefill_core import PrefillCore
from .schedule import Schedule
from .transfer.api import TransferSettings
from .unified_core import UnifiedCore

__all__ = ["build_core"]

# So many rows keep the cores of a CPU as busy as more do.
_PACK_TOKENS = 128
# Half of decode's staging pool is given out at a time: enough to keep prefill busy, and what is never touched costs
# no resident memory.
_STAGING_SHARE = 0.5


def build_core(
    config: ServerConfig, environment: Environment, settings: TransferSettings
) -> UnifiedCore | PrefillCore | DecodeCore:
    """Returns the decisions of a worker."""
    mode = config.disaggregation_mode
    pages = config.max_total_tokens // config.page_size
    schedule = Schedule(
        PagePool(pages),
        page_size=config.page_size,
        chunk_tokens=config.chunked_prefill_size,
        max_running=config.max_running_requests,
        reserve_tokens=0 if mode is Mode.PREFILL else config.num_reserved_decode_tokens,
        pack_tokens=None if config.device == "cuda" else _PACK_TOKENS,
        mixed=config.enable_mixed_chunk and mode is not Mode.PREFILL,  # prefill has nothing to mix with
    )
    if mode is Mode.PREFILL:
        return PrefillCore(
            schedule,
            PagePool(pages),
            bootstrap_timeout_s=environment.bootstrap_timeout_s,
            hard_timeout_s=settings.hard_timeout_s,
            radix_cache=not config.disable_radix_cache,
        )
    if mode is Mode.DECODE:
        return DecodeCore(
            schedule,
            PagePool(pages),
            staging_share=_STAGING_SHARE,
            waiting_timeout_s=environment.waiting_timeout_s,
            fence_s=settings.hard_timeout_s,
            gives_way=config.yield_to_prefill,
        )
    return UnifiedCore(schedule)
