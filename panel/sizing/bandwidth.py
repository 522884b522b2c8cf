"""The KV that a load sends from prefill to decode, against what the chosen NICs carry.

Efficiencies are published or measured figures, given with their source; whoever has measured a link passes that
instead. Pure: NICs come in as values of nic_probe or as plain numbers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from math import inf

from ...engine.errors import ConfigError
from ...nic_probe.nics.device import RdmaDevice
from .facts import Mixer, ModelFacts
from .figure import Figure, amount, shown
from .kv import sequence_kv_bytes
from .parallelism import Parallelism

__all__ = ["Carrier", "Links", "Transfer", "Wanted", "link_of_devices", "prompt_bytes", "transfer_of"]

_BYTES_PER_GBIT = 125e6


class Carrier(StrEnum):
    """What KV travels by."""

    RDMA = "rdma"
    TCP = "tcp"


_EFFICIENCY = {Carrier.RDMA: 0.7, Carrier.TCP: 0.1}
_WHY = {
    Carrier.RDMA: "RDMA carries 70 % of the line rate: 71 % and 82 % were published for whole prompts "
    "(Mooncake docs, vLLM with 8 CX-7 and SGLang with 4 x 400 Gb/s); short prompts get less.",
    Carrier.TCP: "Mooncake over TCP carries 10 % of the line rate: Mooncake's README gives 41 of 400 GB/s "
    "(190 / 4.6) and 36 of 100 GB/s (87 / 2.4), and single connections far less.",
}


@dataclass(frozen=True, slots=True)
class Links:
    """The NICs that one worker sends or receives KV through.

    Attributes:
        rate_gbps: line rate of one NIC in Gb/s.
        count: NICs of the worker.
        carrier: RDMA or TCP.
        efficiency: share of the line rate that KV gets; the carrier's published one when None.
    """

    rate_gbps: float
    count: int = 1
    carrier: Carrier = Carrier.RDMA
    efficiency: float | None = None

    def __post_init__(self) -> None:
        if self.rate_gbps <= 0 or self.rate_gbps == inf:
            raise ConfigError("--nic-gbps", self.rate_gbps, "is no rate", "give the line rate of a NIC in Gb/s")
        if self.count < 1:
            raise ConfigError("--nics", self.count, "is less than 1", "give the NICs of a worker")
        if self.efficiency is not None and not 0 < self.efficiency <= 1:
            raise ConfigError("--nic-efficiency", self.efficiency, "is not between 0 and 1", "use a share such as 0.7")

    @property
    def share(self) -> float:
        """The share of the line rate that is counted on."""
        return _EFFICIENCY[self.carrier] if self.efficiency is None else self.efficiency

    @property
    def speed(self) -> Figure:
        """Bytes per second of all NICs of the worker."""
        value = self.count * self.rate_gbps * _BYTES_PER_GBIT * self.share
        formula = f"{self.count} x {self.rate_gbps:g} Gb/s x 125,000,000 B x {self.share:g}"
        why = _WHY[self.carrier] if self.efficiency is None else "The efficiency is as given."
        return Figure(value, "B/s", formula, (why,))


@dataclass(frozen=True, slots=True)
class Wanted:
    """A load: requests per second, and tokens of each prompt that no cache holds."""

    rate: float
    prompt: int

    def __post_init__(self) -> None:
        if not 0 <= self.rate < inf:
            raise ConfigError("--rate", self.rate, "is no rate", "give requests per second")
        if self.prompt < 1:
            raise ConfigError("--prompt", self.prompt, "is less than 1", "give the tokens of a prompt")


@dataclass(frozen=True, slots=True)
class Transfer:
    """What the KV of a load needs of the links.

    Attributes:
        prompt: bytes that one prompt sends.
        needed: bytes per second of the whole load.
        needed_per_prefill, needed_per_decode: of one worker, the load spread evenly.
        needed_per_nic: of a NIC on the busier side.
        given_per_prefill, given_per_decode: what a worker's NICs carry.
        time: milliseconds that one prompt's KV takes through one pair of workers.
        use: share of the busier side's links that the load takes; above 1 it cannot be carried.
        most: requests per second that the links carry.
        bottleneck: `prefill NICs` or `decode NICs`, whichever is busier.
        verdict: all of it in one sentence.
    """

    prompt: Figure
    needed: Figure
    needed_per_prefill: Figure
    needed_per_decode: Figure
    needed_per_nic: Figure
    given_per_prefill: Figure
    given_per_decode: Figure
    time: Figure
    use: Figure
    most: Figure
    bottleneck: str
    verdict: str

    @property
    def fits(self) -> bool:
        """True when the links carry the load."""
        return self.use.value <= 1


def link_of_devices(devices: Iterable[RdmaDevice], carrier: Carrier = Carrier.RDMA) -> Links | None:
    """Returns the links that chosen NICs make; None when no rate is known.

    NICs of unequal rates count as the slowest: KV is striped over them evenly.
    """
    rates = [
        max(rates)
        for device in devices
        if (rates := [rate for port in device.ports if port.active and (rate := port.rate_gbps.value)])
    ]
    return Links(min(rates), len(rates), carrier) if rates else None


def prompt_bytes(facts: ModelFacts, prompt: int, kv_dtype: str = "bf16", decode: Parallelism | None = None) -> Figure:
    """Returns the bytes that one prompt's KV sends: each GPU of the decode worker gets all that it will hold.

    Raises:
        ConfigError: the KV dtype is unknown.
    """
    decode = decode or Parallelism()
    one = Parallelism(tp=decode.attention_tp)
    whole, each = sequence_kv_bytes(facts, prompt, kv_dtype, one)
    value = each * decode.attention_tp
    formula = f"{amount(prompt)} tokens, {amount(round(each))} B for each of {decode.attention_tp} decode GPUs"
    assumes: tuple[str, ...] = ()
    if value > whole * 1.001:
        what = "latent KV is the same on each GPU" if facts.kv_lora_rank else "there are fewer KV heads than GPUs"
        assumes = (f"It is {value / whole:.3g} times the KV itself, since {what}.",)
    if any(group.mixer is Mixer.SLIDING for group in facts.layers):
        assumes = (*assumes, "Of layers with a window, only the window is sent.")
    return Figure(round(value), "B", formula, assumes)


def transfer_of(
    facts: ModelFacts,
    wanted: Wanted,
    prefill: Links,
    decode: Links,
    *,
    prefill_workers: int = 1,
    decode_workers: int = 1,
    kv_dtype: str = "bf16",
    parallel: Parallelism | None = None,
) -> Transfer:
    """Returns what a load's KV needs of the links between prefill and decode workers.

    Args:
        facts: the model.
        wanted: the load.
        prefill: the NICs of one prefill worker.
        decode: the NICs of one decode worker.
        prefill_workers: how many there are.
        decode_workers: how many there are.
        kv_dtype: of the KV cache.
        parallel: how a decode worker is spread.

    Raises:
        ConfigError: a count is less than 1, or the KV dtype is unknown.
    """
    for name, workers in (("prefill", prefill_workers), ("decode", decode_workers)):
        if workers < 1:
            raise ConfigError(name, workers, "is less than 1", "give one worker or more")
    one = prompt_bytes(facts, wanted.prompt, kv_dtype, parallel)
    needed = Figure(
        one.value * wanted.rate, "B/s", f"{amount(one.value)} B x {amount(wanted.rate)} requests/s", one.assumes
    )
    sides = {"prefill NICs": (prefill, prefill_workers), "decode NICs": (decode, decode_workers)}
    loads = {
        side: Figure(needed.value / workers, "B/s", f"{amount(needed.value)} B/s / {workers} workers", _EVEN)
        for side, (_, workers) in sides.items()
    }
    # The side that is busier is the one that carries less, whatever the load is.
    carried = {side: links.speed.value * workers for side, (links, workers) in sides.items()}
    busy = min(carried, key=lambda side: carried[side])
    links, workers = sides[busy]
    per_nic = loads[busy].value / links.count
    slower = min(prefill.speed.value, decode.speed.value)
    use = needed.value / carried[busy]
    most = carried[busy] / one.value
    why = links.speed.assumes
    return Transfer(
        prompt=one,
        needed=needed,
        needed_per_prefill=loads["prefill NICs"],
        needed_per_decode=loads["decode NICs"],
        needed_per_nic=Figure(per_nic, "B/s", f"{amount(loads[busy].value)} B/s / {links.count} NICs"),
        given_per_prefill=prefill.speed,
        given_per_decode=decode.speed,
        time=Figure(
            1000 * one.value / slower,
            "ms",
            f"{amount(one.value)} B / {amount(slower)} B/s x 1000",
            ("The links are otherwise idle, and nothing of the transfer hides behind the prefill.",),
        ),
        use=Figure(use, "", f"{amount(needed.value)} B/s / ({workers} workers x {amount(links.speed.value)} B/s)", why),
        most=Figure(most, "requests/s", f"{workers} x {amount(links.speed.value)} B/s / {amount(one.value)} B", why),
        bottleneck=busy,
        verdict=_verdict(busy, use, per_nic, links, most),
    )


_EVEN = ("The load is spread evenly over the workers.",)


def _verdict(side: str, use: float, per_nic: float, links: Links, most: float) -> str:
    need = f"each of the {side} needs {shown(per_nic, 'B/s')} of {shown(links.speed.value / links.count, 'B/s')}"
    if use > 1:
        return f"Too much for the links: {need}; they carry {amount(most)} requests/s at most."
    if use > 0.7:
        return f"The links are the tight spot: {need} ({use:.0%}); bursts will queue."
    return f"The links carry it: {need} ({use:.0%})."
