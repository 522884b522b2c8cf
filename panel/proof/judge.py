"""The judgement over counter differences: which way the KV travelled, and whether that can be told at all.

Pure. A link carried KV when its counters rose by about what the engine says that it moved; what a library was asked
for, or says of itself, proves nothing. Called by `prove`; every rule stands in `judge`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from ..sizes import size_text
from .verdict import Asked, Counter, Difference, Verdict, Way

__all__ = ["judge"]

_LEAST_BYTES: Final = 256 << 10
# Headers, acknowledgements and repeats make a link carry a few percent more than the KV; other traffic more still.
_CARRIED: Final = 0.7
_NOTHING: Final = 0.3
_PART: Final = 0.05
_NOISE: Final = 0.5
_WORDS: Final = {Asked.RDMA: "RDMA", Asked.TCP: "TCP", Asked.SHARED_MEMORY: "shared memory"}
_FITS: Final = {
    Way.RDMA: Asked.RDMA,
    Way.TCP: Asked.TCP,
    Way.LOOPBACK: Asked.TCP,
    Way.SHARED_MEMORY: Asked.SHARED_MEMORY,
}
_BEGIN: Final = "This deployment's KV travels"


def judge(
    differences: Sequence[Difference], expected_bytes: float | None, asked: Asked, nics: Sequence[str]
) -> Verdict:
    """Returns which way the KV travelled.

    Args:
        differences: of every link that is counted.
        expected_bytes: what the engine says that it moved; None when it does not say.
        asked: what the deployment asks for.
        nics: the RDMA devices that it names.
    """
    if expected_bytes is None:
        return _unknown("the engine does not say how much KV it moved")
    if expected_bytes < _LEAST_BYTES:
        return _unknown(f"only {size_text(expected_bytes)} of KV moved while the test requests ran")
    shares = {kind: _carried(differences, kind) / expected_bytes for kind in Counter}
    noisy = [one for one in differences if one.noise > _NOISE * expected_bytes]
    carrying = [kind for kind in Counter if shares[kind] >= _CARRIED]
    if Counter.RDMA in carrying:
        # Software RDMA travels over an interface too, which then shows the same bytes: the port says more.
        carrying = [Counter.RDMA]
    if len(carrying) > 1:
        names = _and(name for kind in carrying for name in _parts(differences, kind, expected_bytes))
        return _unknown(f"{names} each carried as many bytes as the KV has")
    if carrying:
        kind = carrying[0]
        if any(one.kind is kind for one in noisy):
            names = _and(one.name for one in noisy if one.kind is kind)
            return _unknown(f"other traffic on {names} was as large as the KV; try again when it is quiet")
        return _over(kind, differences, expected_bytes, asked, nics)
    found = sum(shares.values())
    if found >= _CARRIED:
        return _mixed(differences, shares, expected_bytes, asked)
    if found >= _NOTHING:
        return _unknown(f"the counters show only {found:.0%} of the {size_text(expected_bytes)} of KV that were moved")
    return _nowhere(differences, expected_bytes, asked)


def _over(
    kind: Counter, differences: Sequence[Difference], expected: float, asked: Asked, nics: Sequence[str]
) -> Verdict:
    links = _parts(differences, kind, expected)
    if kind is Counter.RDMA:
        used = tuple(dict.fromkeys(name.partition(":")[0] for name in links))
        wanted = tuple(dict.fromkeys(nic.partition(":")[0] for nic in nics))
        count = f", {sum(nic in used for nic in wanted)} of {len(wanted)} NICs" if wanted else ""
        fabrics = _and(dict.fromkeys(one.fabric for one in differences if one.name in links and one.fabric))
        text = f"over RDMA on {_and(used)}{count}{f', {fabrics}' if fabrics else ''}"
        strangers = [name for name in used if wanted and name not in wanted]
        if strangers:
            text += f" ({_and(strangers)} not among those asked for)"
        return _verdict(Way.RDMA, text, asked, links)
    if kind is Counter.NVLINK:
        return _verdict(Way.NVLINK, f"over NVLink between {_and(links)}", asked, links)
    if kind is Counter.LOOPBACK:
        return _verdict(Way.LOOPBACK, f"over TCP on {_and(links)}, the loopback of this host", asked, links)
    return _verdict(Way.TCP, f"over TCP on {_and(links)}", asked, links)


def _mixed(differences: Sequence[Difference], shares: dict[Counter, float], expected: float, asked: Asked) -> Verdict:
    words = {Counter.RDMA: "RDMA on", Counter.NETDEV: "TCP on", Counter.LOOPBACK: "TCP on", Counter.NVLINK: "NVLink of"}
    parts: list[str] = []
    links: list[str] = []
    for kind, share in sorted(shares.items(), key=lambda item: -item[1]):
        names = _parts(differences, kind, expected)
        if share >= _PART and names:
            parts.append(f"{share:.0%} over {words[kind]} {_and(names)}")
            links += names
    return Verdict(
        Way.MIXED,
        f"{_BEGIN} several ways: {_and(parts)}{_although(False if asked is not Asked.ANY else None, asked)}.",
        False if asked is not Asked.ANY else None,
        tuple(links),
    )


def _nowhere(differences: Sequence[Difference], expected: float, asked: Asked) -> Verdict:
    unread = [one.name for one in differences if one.moved is None]
    if unread:
        return _unknown(f"the counters of {_and(unread)} cannot be read, and the others did not rise with the KV")
    noisy = [one.name for one in differences if one.noise > _NOTHING * expected]
    if noisy:
        return _unknown(f"other traffic on {_and(noisy)} hides whether they carry it")
    if not differences:
        return _unknown("this host has no counters to compare")
    if asked is Asked.SHARED_MEMORY:
        return _verdict(Way.SHARED_MEMORY, "over shared memory: no network link carried it", asked, ())
    return _unknown(
        f"{size_text(expected)} of KV arrived while no network link's counter rose with it: shared memory, GPU links "
        "and "
        "traffic within one NIC look like this"
    )


def _verdict(way: Way, text: str, asked: Asked, links: Sequence[str]) -> Verdict:
    as_asked = None if asked is Asked.ANY else _FITS.get(way) is asked
    return Verdict(way, f"{_BEGIN} {text}{_although(as_asked, asked)}.", as_asked, tuple(links))


def _although(as_asked: bool | None, asked: Asked) -> str:
    return f", although {_WORDS[asked]} was asked for" if as_asked is False else ""


def _unknown(why: str) -> Verdict:
    return Verdict(Way.UNKNOWN, f"Which way this deployment's KV travels cannot be told, because {why}.")


def _carried(differences: Sequence[Difference], kind: Counter) -> float:
    """Returns the bytes that links of a kind carried: a link within this host shows them as sent and as received."""
    moved = [one.moved for one in differences if one.kind is kind and one.moved is not None]
    return max(sum(sent for sent, _ in moved), sum(received for _, received in moved), 0.0)


def _parts(differences: Sequence[Difference], kind: Counter, expected: float) -> list[str]:
    found = [one for one in differences if one.kind is kind and one.moved is not None]
    return [one.name for one in found if max(one.moved or (0.0,)) >= _PART * expected]


def _and(names: Iterable[str]) -> str:
    words = list(names)
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""
