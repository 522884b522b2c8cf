"""How the values of a row become bytes: one number per series, in the order in which the series became known.

Pure. A series keeps its place for good, so an old row stays readable when series are added; a gap is a NaN. A row as
it was sampled is kept exactly, a mean of many rows as 32-bit numbers and compressed. `runner.sample_file` stores them.
"""

from __future__ import annotations

import math
import zlib
from array import array
from collections.abc import Iterable, Mapping

import msgspec

from .series import SeriesInfo

__all__ = ["Places"]

_NAN = float("nan")


class Places:
    """The series that are known, and the place of each in a packed row.

    Attributes:
        series: by key, in the order of their places.
    """

    def __init__(self, series: Iterable[SeriesInfo] = ()) -> None:
        self.series: dict[str, SeriesInfo] = {}
        self._places: dict[str, int] = {}
        self._keys: list[str] = []
        self._version = ""
        self.learn(series)

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def version(self) -> str:
        """The same text for the same series, in another process too."""
        if not self._version:
            self._version = f"{zlib.crc32(msgspec.json.encode(list(self.series.values()))):08x}"
        return self._version

    def learn(self, series: Iterable[SeriesInfo]) -> list[tuple[int, SeriesInfo]]:
        """Adds series, or what is said about them, and returns those that are new or changed, with their places."""
        fresh: list[tuple[int, SeriesInfo]] = []
        for info in series:
            if self.series.get(info.key) == info:
                continue
            if info.key not in self._places:
                self._places[info.key] = len(self._keys)
                self._keys.append(info.key)
            self.series[info.key] = info
            self._version = ""
            fresh.append((self._places[info.key], info))
        return fresh

    def unknown(self, keys: Iterable[str]) -> list[str]:
        """Returns the keys that have no place yet."""
        return [key for key in keys if key not in self._places]

    def pack(self, values: Mapping[str, float]) -> bytes:
        """Returns `values`, whose keys are all known, as bytes; what is not finite is a gap."""
        return self._array("d", values).tobytes()

    def unpack(self, data: bytes) -> dict[str, float]:
        """Returns the values in `data`."""
        return self._values(_array("d", data))

    def pack_bucket(self, means: Mapping[str, float], peaks: Mapping[str, float]) -> bytes:
        """Returns means and peaks as bytes, with the precision of 32-bit numbers."""
        first, second = self._array("f", means), self._array("f", peaks)
        return zlib.compress(len(first).to_bytes(4, "little") + first.tobytes() + second.tobytes(), 1)

    def unpack_bucket(self, data: bytes) -> tuple[dict[str, float], dict[str, float]]:
        """Returns the means and peaks in `data`; none of bytes that are no bucket."""
        try:
            plain = zlib.decompress(data)
        except zlib.error:
            return {}, {}
        end = 4 + 4 * int.from_bytes(plain[:4], "little")
        return self._values(_array("f", plain[4:end])), self._values(_array("f", plain[end:]))

    def _array(self, code: str, values: Mapping[str, float]) -> array[float]:
        packed = array(code, [_NAN]) * len(self._keys)
        for key, value in values.items():
            if math.isfinite(value):
                try:
                    packed[self._places[key]] = value
                except OverflowError:  # more than 32 bits can say
                    continue
        return packed

    def _values(self, packed: array[float]) -> dict[str, float]:
        return {key: value for key, value in zip(self._keys, packed, strict=False) if math.isfinite(value)}


def _array(code: str, data: bytes) -> array[float]:
    packed = array(code)
    packed.frombytes(data[: len(data) - len(data) % packed.itemsize])
    return packed
