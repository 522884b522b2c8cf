"""A simulated host as a description says it: a small TOML file, whose fields are checked and then grown into files.

Knows what a description may say, and nothing of how it is found or used. Called by `catalogue` and `simulation`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from ...engine.errors import ConfigError
from .node import Node, grow_node
from .system import Make

__all__ = ["Description", "grow_description", "read_description"]

_MOST_BYTES = 64 << 10
_REMEDY = "compare it with one of the descriptions in docs/simulate.md"
_Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]
_Line = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
_Few = Annotated[int, Meta(ge=1, le=16)]
_Gib = Annotated[int, Meta(ge=1, le=16384)]


class _Machine(Struct, frozen=True, forbid_unknown_fields=True):
    hostname: _Name = "simulated"
    product: _Line = "Node"
    cpu: _Line = "Simulated CPU"
    numa_nodes: Annotated[int, Meta(ge=1, le=4)] = 1
    memory_gib: _Gib = 512
    memlock_kib: Annotated[int, Meta(ge=-1, le=1 << 40)] = -1


class _Gpus(Struct, frozen=True, forbid_unknown_fields=True):
    driver: Literal["nvidia", "amdgpu"] = "nvidia"
    count: Annotated[int, Meta(ge=0, le=16)] = 8
    model: _Line = "NVIDIA H100 80GB HBM3"
    memory_gib: _Gib = 80
    architecture: _Line = "9.0"
    nvlinks: Annotated[int, Meta(ge=0, le=64)] = 0
    per_switch: _Few = 1
    peermem: bool = True


class _Nics(Struct, frozen=True, forbid_unknown_fields=True):
    driver: Literal["mlx5_core", "bnxt_en", "ionic", "erdma", "efa", "ice"] = "mlx5_core"
    count: Annotated[int, Meta(ge=0, le=16)] = 8
    rate: Annotated[str, Meta(pattern=r"^[1-9][0-9]{0,3} Gb/sec \([0-9A-Z ]{1,12}\)$")] = "400 Gb/sec (4X NDR)"
    link_layer: Literal["Ethernet", "InfiniBand"] = "Ethernet"
    per_switch: _Few = 1
    storage: bool = False
    down: tuple[Annotated[int, Meta(ge=0, le=15)], ...] = ()


class Traffic(Struct, frozen=True, forbid_unknown_fields=True):
    """How counters move: bytes counted for each byte of KV, and what every port carries while nothing happens."""

    kv_scale: Annotated[float, Meta(ge=1, le=1e6)] = 1000.0
    idle_bytes_per_s: Annotated[float, Meta(ge=0, le=1e9)] = 200_000.0


class Suggestion(Struct, frozen=True, forbid_unknown_fields=True):
    """The deployment that the first-run guide offers."""

    prefill: Annotated[int, Meta(ge=1, le=8)] = 1
    decode: Annotated[int, Meta(ge=1, le=8)] = 1


class Description(Struct, frozen=True, forbid_unknown_fields=True):
    """What a description file says; `name` is also the folder of its runs."""

    name: _Name
    title: _Line
    machine: _Machine = _Machine()
    gpus: _Gpus = _Gpus()
    nics: _Nics = _Nics()
    packages: Mapping[_Line, _Line] = {}
    traffic: Traffic = Traffic()
    suggestion: Suggestion = Suggestion()


def read_description(path: Path) -> Description:
    """Returns what the description at `path` says.

    Raises:
        ConfigError: it cannot be read, is no TOML, or says what no description can say.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise ConfigError("--simulate", str(path), "is longer than any description of a host", _REMEDY)
        found = msgspec.convert(tomllib.loads(data.decode()), Description)
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
        raise ConfigError("--simulate", str(path), problem, "name a file that this user may read") from None
    except msgspec.ValidationError as error:
        raise ConfigError("--simulate", str(path), f"is no description of a host: {error}", _REMEDY) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError("--simulate", str(path), f"is no TOML: {error}", _REMEDY) from None
    return found


def grow_description(description: Description, root: Path) -> Node:
    """Writes the files of the described host below `root`, an empty folder, and returns what was grown."""
    machine, gpus, nics = description.machine, description.gpus, description.nics
    make = Make(
        hostname=machine.hostname,
        product=machine.product,
        cpu=machine.cpu,
        node_bytes=(machine.memory_gib << 30) // machine.numa_nodes,
        gpu=gpus.model,
        gpu_bytes=gpus.memory_gib << 30,
        architecture=gpus.architecture,
        nvlinks=gpus.nvlinks,
        peermem=gpus.peermem,
        packages=description.packages,
        memlock=machine.memlock_kib << 10 if machine.memlock_kib >= 0 else -1,
    )
    return grow_node(
        root,
        gpus=gpus.count,
        nics=nics.count,
        gids=16,
        numa_nodes=machine.numa_nodes,
        gpus_per_switch=gpus.per_switch,
        nics_per_switch=nics.per_switch,
        gpu_driver=gpus.driver,
        nic_driver=nics.driver,
        link_layer=nics.link_layer,
        rate=nics.rate,
        down=nics.down,
        storage_nic=nics.storage,
        make=make,
    )
