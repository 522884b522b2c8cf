"""Whether every page belongs to somebody who lives: what an idle worker checks of its pools.

A page whose owner is gone is lost until the worker ends; a page that two strangers own will be corrupted. Neither can
happen unless a decision of ours was wrong, so a problem here is always a bug. Pure; the cores say who lives.
"""

from __future__ import annotations

from collections.abc import Set

from .errors import LocalProtocolError
from .pages import Owner, PagePool

__all__ = ["pool_problems"]


def pool_problems(name: str, pool: PagePool, live: Set[Owner], fenced: Set[Owner] = frozenset()) -> list[str]:
    """Returns what is wrong with a pool, one sentence each.

    Args:
        live: who may hold pages now.
        fenced: whose pages must be in quarantine now.
    """
    problems: list[str] = []
    try:
        pool.check()
    except LocalProtocolError as error:
        problems.append(f"{name}: {error}")
    problems += [f"{name}: {owner} holds pages and does not live." for owner in pool.holders - live]
    problems += [f"{name}: {owner} has pages in quarantine without a fence." for owner in pool.fenced - fenced]
    problems += [f"{name}: the fence of {owner} has no pages." for owner in fenced - pool.fenced]
    return sorted(problems)
