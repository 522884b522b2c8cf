"""What `pdpanel plan --suggest` does: reads a model's shape and measured speeds from files, prints ranked splits.

`panel.cli` parses the arguments. Reads files and nothing else; imports neither torch nor gradio.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from ..engine.errors import ConfigError
from .doctor.source_file import open_source
from .sizing.bandwidth import Carrier, Links
from .sizing.gpus import Gpu, gpu_named
from .sizing.measured import BUNDLED_ON_CPU, Measured
from .sizing.model import ModelFacts, facts_of_config, facts_of_shape
from .sizing.precision import precision_named
from .sizing.sizing_json import to_json
from .sizing.sizing_text import suggestion_text
from .sizing.split import Fleet, Load
from .sizing.suggest import suggest as suggest_splits

__all__ = ["DeviceOptions", "LinkOptions", "read_measured", "read_model", "suggest"]

_MOST_BYTES = 8 << 20
_MOST_RATE = 1e9
_BUNDLED = "bundled"
_CPU = "cpu"


@dataclass(frozen=True, slots=True)
class DeviceOptions:
    """The device: a name in the table, or what it reaches on paper.

    Attributes:
        gpu: a name such as `h100`, or what the driver reports; `cpu` with measured speeds.
        tflops: peak of 16-bit arithmetic, dense, of a device that is not in the table.
        memory_gbps: its memory speed in gigabytes per second.
        memory_gib: its memory.
        link_gbps: gigabytes per second between GPUs of its node, in one direction.
        measured: a JSON file of measured speeds, or `bundled`.
        mem_fraction: share of its memory that the engine may take.
        cores: with measured speeds of one core, the cores that the workers share.
    """

    gpu: str | None = None
    tflops: float | None = None
    memory_gbps: float | None = None
    memory_gib: float | None = None
    link_gbps: float = 32.0
    measured: str | None = None
    mem_fraction: float = 0.9
    cores: int | None = None


@dataclass(frozen=True, slots=True)
class LinkOptions:
    """The NICs of one GPU.

    Attributes:
        nic_gbps: line rate in Gb/s; the device's usual one when None, 0 not to count the transfer.
        transport: `rdma` or `tcp`.
        efficiency: share of the line rate that KV gets; the transport's published one when None.
    """

    nic_gbps: float | None = None
    transport: str = "rdma"
    efficiency: float | None = None


def suggest(
    model: str,
    gpus: int,
    load: Load,
    device: DeviceOptions,
    links: LinkOptions,
    *,
    tp: str | None = None,
    quantization: str | None = None,
    kv_dtype: str = "bf16",
    keep: int = 8,
    as_json: bool = False,
) -> None:
    """Prints ranked splits of `gpus` GPUs for a load, for people or as JSON.

    Raises:
        ConfigError: a file cannot be read, the model cannot be sized or does not fit, or a number makes no sense.
    """
    _check_finite(device, links)
    if keep < 1:
        raise ConfigError("--top", keep, "is less than 1", "ask for one split or more")
    facts = read_model(model, quantization)
    measured = _measured(device, facts)
    if device.cores is not None and measured is None:
        raise ConfigError("--cores", device.cores, "goes with measured speeds", "give --measured, or leave it out")
    gpu = _gpu(device, measured)
    suggestion = suggest_splits(
        facts,
        load,
        Fleet(gpus, _sizes(tp, measured), _links(links, gpu), device.cores),
        gpu,
        kv_dtype=kv_dtype,
        precision=precision_named(quantization) if quantization else None,
        fraction=device.mem_fraction,
        measured=measured,
        keep=keep,
    )
    if as_json:
        typer.echo(json.dumps(to_json(suggestion), indent=2))
    else:
        typer.echo(suggestion_text(suggestion), nl=False)


def read_model(model: str, quantization: str | None = None) -> ModelFacts:
    """Returns the sizes of a model on disk: a folder with config.json, such a file itself, or a .gguf file.

    Raises:
        ConfigError: there is no such model, or it cannot be sized.
    """
    path = Path(os.path.expanduser(model))
    if path.suffix == ".gguf":
        from ..engine.model.gguf import GgufSource

        return facts_of_shape(GgufSource(path).shape, path.stem)
    if path.is_dir():
        config = dict(_json(path / "config.json", "--model"))
        beside = path / "hf_quant_config.json"
        if not config.get("quantization_config") and beside.is_file():
            config["quantization_config"] = _json(beside, "--model").get("quantization")
        return facts_of_config(config, path.resolve().name, quantisation=quantization)
    return facts_of_config(_json(path, "--model"), quantisation=quantization)


def read_measured(path: Path) -> Measured:
    """Returns measured speeds from a file: `{"prefill_tokens_per_s": 430, "decode_tokens_per_s": {"1": 22}}`.

    Raises:
        ConfigError: it cannot be read, or is not of this form.
    """
    data = _json(path, "--measured")
    prefill, decode = data.get("prefill_tokens_per_s"), data.get("decode_tokens_per_s")
    try:
        if not isinstance(prefill, int | float) or not isinstance(decode, Mapping):
            raise TypeError
        points = sorted((int(batch), float(rate)) for batch, rate in decode.items())
    except (TypeError, ValueError):
        remedy = 'write {"prefill_tokens_per_s": 430, "decode_tokens_per_s": {"1": 22, "8": 69}}'
        raise ConfigError("--measured", str(path), "holds no speeds", remedy) from None
    return Measured(float(prefill), tuple(points), str(data.get("where") or path.name))


def _json(path: Path, flag: str) -> Mapping[str, Any]:
    remedy = "name a readable file, or a folder with config.json"
    try:
        with open_source(path, flag, remedy) as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError(flag, str(path), error.strerror or "cannot be read", remedy) from None
    if len(data) > _MOST_BYTES:
        raise ConfigError(flag, str(path), "is larger than 8 MiB", "name a config.json")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ConfigError(flag, str(path), "is no JSON object", "name a config.json")
    return value


def _check_finite(device: DeviceOptions, links: LinkOptions) -> None:
    rates = {
        "--tflops": device.tflops,
        "--memory-gbps": device.memory_gbps,
        "--memory-gib": device.memory_gib,
        "--link-gbps": device.link_gbps,
        "--nic-gbps": links.nic_gbps,
    }
    for flag, value in rates.items():
        if value is not None and not 0 <= value <= _MOST_RATE:
            raise ConfigError(flag, value, "is no rate or size", f"give a number from 0 to {_MOST_RATE:g}")


def _measured(device: DeviceOptions, facts: ModelFacts) -> Measured | None:
    if device.measured not in {None, _BUNDLED}:
        return read_measured(Path(str(device.measured)))
    if device.measured is None and (device.gpu or "").lower() != _CPU:
        return None
    size = facts.parameters.value
    if not 0.95 < size / 134.5e6 < 1.05:
        problem = f"was measured with a model of 134.5 million parameters, and this one has {size / 1e6:,.4g} million"
        remedy = "measure your model and give the file with --measured"
        raise ConfigError("--measured", device.measured or device.gpu, problem, remedy)
    return BUNDLED_ON_CPU


def _gpu(device: DeviceOptions, measured: Measured | None) -> Gpu | None:
    own = (device.tflops, device.memory_gbps, device.memory_gib)
    if any(value is not None for value in own):
        if any(value is None or not value > 0 for value in own):
            problem = "a device needs its peak, its memory speed and its memory, all positive"
            raise ConfigError("--tflops", own, problem, "give --tflops, --memory-gbps and --memory-gib")
        tflops, speed, memory = (float(value or 0) for value in own)
        peaks = {"bf16": tflops * 1e12}
        name = device.gpu or "the device"
        return Gpu(name, memory * (1 << 30), speed * 1e9, peaks, device.link_gbps * 1e9, 0, 8, "as given")
    if device.gpu is None or device.gpu.lower() == _CPU:
        if measured is None:
            raise ConfigError("--gpu", device.gpu, "is missing", "name the GPU, such as h100, or give --measured")
        return None
    return gpu_named(device.gpu)


def _links(options: LinkOptions, gpu: Gpu | None) -> Links | None:
    if options.transport not in set(Carrier):
        raise ConfigError("--transport", options.transport, "is neither rdma nor tcp", "use one of the two")
    rate = options.nic_gbps if options.nic_gbps is not None else (gpu.nic_gbps if gpu else 0)
    return Links(rate, 1, Carrier(options.transport), options.efficiency) if rate else None


def _sizes(tp: str | None, measured: Measured | None) -> tuple[int, ...]:
    if tp is None:
        return (1,) if measured else (1, 2, 4, 8)
    parts = [part.strip() for part in tp.split(",")]
    if not all(part.isdecimal() and len(part) < 6 for part in parts):
        raise ConfigError("--tp", tp, "is no list of sizes", "write sizes such as 1,2,4,8")
    return tuple(int(part) for part in parts)
