"""Reads queues and pools out of a worker's core: what it says of itself at this moment, by group and in total.

Called on the step loop's thread, which alone may look into the core.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from .decode_core import DecodeCore
from .lifecycle import State
from .pages import PagePool
from .parallel.groups import Groups
from .prefill_core import PrefillCore
from .statistics import EngineStatistics, OpenStatistics, PoolStatistics
from .step_loop import Core
from .unified_core import UnifiedCore

__all__ = ["cores_of", "observe"]

_Single = UnifiedCore | PrefillCore | DecodeCore


def cores_of(core: Core) -> Sequence[_Single]:
    """Returns the core of each attention group."""
    if isinstance(core, Groups):
        return core.cores
    assert isinstance(core, UnifiedCore | PrefillCore | DecodeCore)
    return (core,)


def observe(core: Core, page_size: int) -> EngineStatistics:
    """Returns what the core's queues and pools hold; of several groups, each one's beside the sums.

    Args:
        page_size: tokens of a page.
    """
    found = tuple(_observe(one, page_size) for one in cores_of(core))
    return found[0] if len(found) == 1 else _total(found)


def _observe(core: _Single, page_size: int) -> EngineStatistics:
    schedule = core.schedule
    prefill = core if isinstance(core, PrefillCore) else None
    decode = core if isinstance(core, DecodeCore) else None
    bootstrap = prefill.count(State.AWAIT_GRANT) if prefill else 0
    prealloc = len(decode.awaiting) if decode else 0
    slot, staging = _pool(schedule.slots), None
    if isinstance(core, PrefillCore | DecodeCore):
        staging = _pool(core.staging, prefill.prefix.unused if prefill else 0)
    return EngineStatistics(
        running=schedule.running,
        queued=len(schedule.waiting) + bootstrap + prealloc,
        bootstrap_queue=bootstrap,
        inflight_queue=prefill.count(State.FLUSHING, State.COMMITTING) if prefill else 0,
        prealloc_queue=prealloc,
        transfer_queue=len(decode.granted) if decode else 0,
        used_tokens=slot.held * page_size,
        max_total_tokens=slot.total * page_size,
        slot=slot,
        cache_hit_rate=prefill.prefix.hit_rate if prefill else 0.0,
        staging=staging,
        stale_messages=core.stale_messages if isinstance(core, PrefillCore | DecodeCore) else 0,
        open=OpenStatistics(rooms=_rooms(core)),
    )


def _rooms(core: _Single) -> int:
    if isinstance(core, PrefillCore):
        return len(core.rooms) + core.early_grants
    waiting = core.schedule.running + len(core.schedule.waiting)
    if isinstance(core, DecodeCore):
        return waiting + len(core.awaiting) + len(core.granted) + len(core.fences)
    return waiting


def _total(groups: tuple[EngineStatistics, ...]) -> EngineStatistics:
    staging = [group.staging for group in groups if group.staging is not None]
    return EngineStatistics(
        running=sum(group.running for group in groups),
        queued=sum(group.queued for group in groups),
        bootstrap_queue=sum(group.bootstrap_queue for group in groups),
        inflight_queue=sum(group.inflight_queue for group in groups),
        prealloc_queue=sum(group.prealloc_queue for group in groups),
        transfer_queue=sum(group.transfer_queue for group in groups),
        used_tokens=sum(group.used_tokens for group in groups),
        max_total_tokens=sum(group.max_total_tokens for group in groups),
        slot=_sum([group.slot for group in groups]),
        cache_hit_rate=fmean(group.cache_hit_rate for group in groups),
        staging=_sum(staging) if staging else None,
        stale_messages=sum(group.stale_messages for group in groups),
        open=OpenStatistics(rooms=sum(group.open.rooms for group in groups)),
        groups=groups,
    )


def _pool(pool: PagePool, cached: int = 0) -> PoolStatistics:
    pages = pool.statistics()
    return PoolStatistics(pages.total, pages.free, pages.held - cached, pages.quarantined, cached)


def _sum(pools: Sequence[PoolStatistics]) -> PoolStatistics:
    return PoolStatistics(
        total=sum(pool.total for pool in pools),
        free=sum(pool.free for pool in pools),
        held=sum(pool.held for pool in pools),
        quarantined=sum(pool.quarantined for pool in pools),
        cached=sum(pool.cached for pool in pools),
    )
