"""The host's memory, from `/proc/meminfo`. Called by `host`."""

from __future__ import annotations

from dataclasses import dataclass

from .reading import Reading
from .sources.files import HostFiles

__all__ = ["Memory", "probe_memory"]


@dataclass(frozen=True, slots=True)
class Memory:
    """Sizes in bytes, huge pages in pages.

    Attributes:
        available_bytes: what can be had without swapping, by the kernel's estimate.
    """

    total_bytes: Reading[int]
    available_bytes: Reading[int]
    swap_total_bytes: Reading[int]
    swap_free_bytes: Reading[int]
    huge_pages_total: Reading[int]
    huge_pages_free: Reading[int]
    huge_page_bytes: Reading[int]


def probe_memory(files: HostFiles) -> Memory:
    """Returns the memory of the host at this moment."""
    text = files.text("proc/meminfo")
    values: dict[str, int] = {}
    for line in text.otherwise("").splitlines():
        key, _, rest = line.partition(":")
        words = rest.split()
        if words and words[0].isdecimal():
            values[key.strip()] = int(words[0]) * (1024 if words[1:] == ["kB"] else 1)

    def reading(key: str) -> Reading[int]:
        if text.known and key not in values:
            return Reading.unreadable(text.source, f"has no {key}")
        return text.convert(lambda _: values[key], "a list of sizes")

    return Memory(
        total_bytes=reading("MemTotal"),
        available_bytes=reading("MemAvailable"),
        swap_total_bytes=reading("SwapTotal"),
        swap_free_bytes=reading("SwapFree"),
        huge_pages_total=reading("HugePages_Total"),
        huge_pages_free=reading("HugePages_Free"),
        huge_page_bytes=reading("Hugepagesize"),
    )
