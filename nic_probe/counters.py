"""Reads the byte counters of links again and again, for live plots, and makes rates of them.

The files stay open and are read with pread, which costs a sixtieth of opening them each time; what they held becomes
numbers when somebody asks for a rate. A counter that cannot be read, went
backwards or stands still at 32 bits is a gap with its reason, never a number. Reading may be a firmware command that
takes its time, or hangs: whoever samples gives each device a thread of its own. Which files count is the business of
`nics.counter_files`.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Final, NamedTuple

from .nics.counter_files import SATURATED, WORD_BYTES, CounterFile, CounterSources
from .reading import Reading

__all__ = ["CountedLink", "CounterReader", "CounterSample", "LinkRate", "rates", "rises"]

_LOOK_AFTER_S: Final = 1.0
_MOST_BYTES: Final = 64
# Bytes per second of a gigabit per second, and by how much a rate may be above the line's and still be measured well.
_GBPS: Final = 125e6
_TOLERANCE: Final = 1.05
_REASONS: Final = {
    errno.ENOENT: "does not exist",
    errno.ENODEV: "belongs to a device that is gone",
    errno.EINVAL: "is not answered by the device",
    errno.EOPNOTSUPP: "is not supported by the device",
}


@dataclass(frozen=True, slots=True)
class CountedLink:
    """One link whose bytes are counted.

    Attributes:
        key: its name, such as mlx5_0:1.
        rate_path: the file with its line rate, such as `400 Gb/sec (4X NDR)`; empty without one. It is read again
            and again, since a port that is down shows a placeholder.
        also: names among the sources' other counters to read with each sample.
    """

    key: str
    sources: CounterSources
    rate_path: str = ""
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LinkRate:
    """What travelled over a link between two samples.

    Attributes:
        tx: sent, in bytes per second.
        rx: received, in bytes per second.
        source: the kind of counters.
        note: what to know about the numbers; empty for plain ones.
    """

    tx: Reading[float]
    rx: Reading[float]
    source: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class _Frame:
    """What samples share until a file is lost or comes back.

    Attributes:
        place: of each file among a sample's texts, by path; files that are gaps have none.
        gaps: why a file has no count, by path.
        opened: how often each file was opened, by path; counts of different openings are not compared.
        line_rates: bytes per second, by key.
    """

    links: tuple[CountedLink, ...]
    place: Mapping[str, int]
    gaps: Mapping[str, str]
    opened: Mapping[str, int]
    line_rates: Mapping[str, float]


class CounterSample(NamedTuple):
    """The counters at one moment; made by a CounterReader, read by `rates` and `rises`.

    A tuple, which costs half of a dataclass where one is made for each sample.

    Attributes:
        at: seconds of the monotonic clock.
        texts: what the files held.
    """

    at: float
    texts: Sequence[bytes]
    frame: _Frame


class CounterReader:
    """Samples the counters of some links; not for several threads at once.

    Args:
        links: what to read.
        root: the folder that stands for `/`.
        pread: reads a file; replaced by tests, since no plain file fails as a device does.
    """

    def __init__(
        self,
        links: Sequence[CountedLink],
        root: str = "/",
        pread: Callable[[int, int, int], bytes] = os.pread,
    ) -> None:
        self._links = tuple(links)
        self._root = root
        self._pread = pread
        moving = [part.path for link in links for part in (*link.sources.tx, *link.sources.rx)]
        others = [link.sources.others[name] for link in links for name in link.also if name in link.sources.others]
        self._gaps = dict.fromkeys([*moving, *others], "was not read yet")
        self._open: dict[str, int] = {}
        self._opened = dict.fromkeys(self._gaps, 0)
        self._line_rates: dict[str, float] = {}
        self._look_at = 0.0
        self._arrange()

    def sample(self) -> CounterSample:
        """Reads every counter; blocks as long as the devices take."""
        began = time.monotonic()
        if began >= self._look_at:
            self._look_after()
        try:
            texts = list(map(self._pread, self._descriptors, repeat(_MOST_BYTES), repeat(0)))
        except OSError:
            texts = self._sort_out()
        return CounterSample((began + time.monotonic()) / 2, texts, self._frame)

    def close(self) -> None:
        """Closes the files."""
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()
        self._arrange()

    def _look_after(self) -> None:
        """Opens what was lost, and reads the line rates."""
        found = [path for path in list(self._gaps) if self._reopen(path)]
        line_rates = {link.key: rate for link in self._links if (rate := self._line_rate(link.rate_path)) is not None}
        if found or line_rates != self._line_rates or not self._look_at:
            self._line_rates = line_rates
            self._arrange()
        self._look_at = time.monotonic() + _LOOK_AFTER_S

    def _reopen(self, path: str) -> bool:
        try:
            descriptor = self._descriptor(path)
        except OSError as error:
            self._gaps[path] = _why(error)
            return False
        try:
            _count(self._pread(descriptor, _MOST_BYTES, 0))
        except (OSError, ValueError) as error:
            os.close(descriptor)
            self._gaps[path] = _why(error)
            return False
        self._open[path] = descriptor
        self._opened[path] += 1
        del self._gaps[path]
        return True

    def _descriptor(self, path: str) -> int:
        # A pipe in the place of a counter must not hold us.
        descriptor = os.open(os.path.join(self._root, path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.ENXIO, "is not a plain file")
        return descriptor

    def _line_rate(self, path: str) -> float | None:
        if not path:
            return None
        try:
            descriptor = self._descriptor(path)
            try:
                text = os.pread(descriptor, _MOST_BYTES, 0)
            finally:
                os.close(descriptor)
        except OSError:
            return None
        match = re.match(rb"([0-9]{1,6}(?:\.[0-9]{1,3})?) Gb/sec", text)
        return float(match[1]) * _GBPS if match else None

    def _sort_out(self) -> list[bytes]:
        """Reads every file on its own, and makes gaps of those that fail; returns the texts that are left."""
        texts: list[bytes] = []
        for path, descriptor in list(self._open.items()):
            try:
                texts.append(self._pread(descriptor, _MOST_BYTES, 0))
            except OSError as error:
                os.close(self._open.pop(path))
                self._gaps[path] = _why(error)
        self._arrange()
        return texts

    def _arrange(self) -> None:
        self._descriptors = list(self._open.values())
        self._frame = _Frame(
            links=self._links,
            place={path: place for place, path in enumerate(self._open)},
            gaps=dict(self._gaps),
            opened=dict(self._opened),
            line_rates=self._line_rates,
        )


def rates(before: CounterSample, after: CounterSample) -> dict[str, LinkRate]:
    """Returns for each link what travelled between two samples of one reader.

    A rate above the line rate is kept and noted: some devices update their counters in batches.
    """
    answer: dict[str, LinkRate] = {}
    for link in after.frame.links:
        tx = _direction(link, link.sources.tx, before, after)
        rx = _direction(link, link.sources.rx, before, after)
        line = after.frame.line_rates.get(link.key)
        note = ""
        if line is not None and max(tx.otherwise(0.0), rx.otherwise(0.0)) > line * _TOLERANCE:
            note = f"above the line rate of {line / _GBPS:g} Gb/s: the device updates its counters in batches"
        answer[link.key] = LinkRate(tx, rx, link.sources.kind, note)
    return answer


def rises(before: CounterSample, after: CounterSample) -> dict[str, dict[str, int]]:
    """Returns by link and name by how much its other counters rose between two samples, without those that did not."""
    return {link.key: dict(_rises(link, before, after)) for link in after.frame.links if link.also}


def _rises(link: CountedLink, before: CounterSample, after: CounterSample) -> Iterator[tuple[str, int]]:
    for name in link.also:
        rise = _rise(link.sources.others.get(name, ""), before, after)
        if not isinstance(rise, str) and rise > 0:
            yield name, rise


def _direction(
    link: CountedLink, parts: Sequence[CounterFile], before: CounterSample, after: CounterSample
) -> Reading[float]:
    if not parts:
        return Reading.unreadable("counters", link.sources.reason or "are not there")
    if after.at <= before.at:
        return Reading.unreadable(f"/{parts[0].path}", "was read once only")
    total = 0
    for part in parts:
        rise = _rise(part.path, before, after, saturates=part.factor == WORD_BYTES)
        if isinstance(rise, str):
            return Reading.unreadable(f"/{part.path}", rise)
        total += rise * part.factor
    return Reading(total / (after.at - before.at), " + ".join(f"/{part.path}" for part in parts))


def _rise(path: str, before: CounterSample, after: CounterSample, *, saturates: bool = False) -> int | str:
    """Returns by how much a counter rose, or why nobody knows."""
    old, new = before.frame.place.get(path), after.frame.place.get(path)
    if new is None:
        return after.frame.gaps.get(path, "is not read any more")
    if old is None or before.frame.opened[path] != after.frame.opened[path]:
        return "has come back a moment ago"
    try:
        first, last = _count(before.texts[old]), _count(after.texts[new])
    except ValueError as error:
        return _why(error)
    if last == SATURATED and saturates:
        return "stands at the most that 32 bits hold: it no longer counts"
    if last < first:
        return "went backwards: it was reset, or its driver was loaded anew"
    return last - first


def _count(text: bytes) -> int:
    digits = text.strip()
    if not digits.isdigit():
        raise ValueError(digits.decode("utf-8", "replace"))
    return int(digits)


def _why(error: OSError | ValueError) -> str:
    if isinstance(error, OSError):
        return _REASONS.get(error.errno or 0) or (error.strerror or type(error).__name__).lower()
    return f"reads {str(error)[:40]!r}, which is not a count"
