"""How busy the GPUs of a run are, as a source of samples; asks only where the plan has GPUs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ...nic_probe.gpu_use import GpuUses

__all__ = ["GpuSource"]


class GpuSource:
    """The GPUs of a plan.

    Args:
        ids: as the plan names them: index, uuid or PCI address.
        environ: for the process that asks the driver.
        on_sizes: told once, in the reading thread, how many bytes each GPU has, as soon as the driver says it.
    """

    name = "GPUs"
    period_s = 0.5

    def __init__(
        self,
        ids: Sequence[str],
        environ: Mapping[str, str],
        on_sizes: Callable[[Mapping[str, float]], None] = lambda sizes: None,
    ) -> None:
        self._on_sizes = on_sizes
        self._sized = False
        self._ids = tuple(ids)
        self._environ = environ
        self._uses: GpuUses | None = None

    def read(self) -> Mapping[str, float]:
        """Returns percent busy and bytes in use; raises EOFError where no driver tells."""
        if self._uses is None:
            self._uses = GpuUses(self._environ, self.period_s)
        values: dict[str, float] = {}
        by_name = {name: use for use in self._uses.read(2.0) or () for name in use.names}
        for gpu in self._ids:
            use = by_name.get(gpu)
            if use is not None and use.busy_percent is not None:
                values[f"gpu/{gpu}/util_percent"] = use.busy_percent
            if use is not None and use.memory_bytes is not None:
                values[f"gpu/{gpu}/memory_bytes"] = use.memory_bytes
        sizes = {gpu: size for gpu in self._ids if gpu in by_name and (size := by_name[gpu].memory_total_bytes)}
        if sizes and not self._sized:
            self._sized = True
            self._on_sizes(sizes)
        return values

    def close(self) -> None:
        """Ends the process that asks."""
        if self._uses is not None:
            self._uses.close()
