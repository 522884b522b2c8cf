"""Asks Huawei's `npu-smi info` about Ascend NPUs, and reads its table.

The child process calls `read_ascend`, which runs the command; `parse_npu_smi` is pure. The table differs between
releases and models (with or without a column of HBM, with one or two chips on an NPU), so rows are known by what
they hold: the row of a chip by its PCI address, the row before it names the NPU.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from typing import Any

from .address import pci_address

__all__ = ["parse_npu_smi", "read_ascend"]

_MIB = 1 << 20
_VERSION = re.compile(r"npu-smi\s+\S+\s+Version:\s*(\S+)")
_USAGE = re.compile(r"(\d{1,9})\s*/\s*(\d{1,9})", re.ASCII)
_COUNT = re.compile(r"\d{1,9}", re.ASCII)


def read_ascend() -> Iterator[dict[str, Any]]:
    """Yields the head and the NPUs, or one piece with the reason why there is nothing."""
    try:
        answer = subprocess.run(["npu-smi", "info"], capture_output=True, text=True, errors="replace", check=False)
    except FileNotFoundError:
        yield {"absent": True, "reason": "cannot be asked because the command npu-smi is not installed"}
        return
    except OSError as error:
        yield {"reason": f"cannot be asked: {error}"}
        return
    pieces = parse_npu_smi(answer.stdout)
    if answer.returncode != 0 and len(pieces) == 1:
        said = " ".join((answer.stderr or answer.stdout).split())[:120] or "nothing"
        yield {"reason": f"cannot be asked: npu-smi ended with {answer.returncode} and said {said!r}"}
        return
    yield from pieces


def parse_npu_smi(text: str) -> list[dict[str, Any]]:
    """Returns the head and one piece for each chip of the table that `npu-smi info` prints."""
    found = _VERSION.search(text)
    gpus: list[dict[str, Any]] = []
    notes: list[dict[str, Any]] = []
    processes: dict[tuple[str, str], list[dict[str, Any]]] = {}
    npu: list[list[str]] = []
    for line in text.splitlines():
        if not line.strip().startswith("|"):
            continue
        cells = [cell.split() for cell in line.strip().strip("|").split("|")]
        address = pci_address(cells[1][0]) if len(cells) >= 3 and len(cells[1]) == 1 else None
        if address is not None and cells[0]:
            gpus.append(_chip(address, npu, cells, len(gpus)))
            if len(npu) > 1 and npu[1] and npu[1] != ["OK"]:
                notes.append({"note": f"npu-smi calls the health of {address} {' '.join(npu[1])}."})
        elif len(cells) == 4 and len(cells[0]) == 2 and len(cells[1]) == 1 and _COUNT.fullmatch(cells[1][0]):
            processes.setdefault((cells[0][0], cells[0][1]), []).append(_process(cells))
        else:
            npu = cells
    for gpu in gpus:
        gpu["processes"] = {"value": processes.get(gpu.pop("place"), [])}
    version = {"value": found[1]} if found else {"reason": "npu-smi names no version"}
    head = {"driver_version": version, "count": {"value": len(gpus)}}
    if not gpus:
        head["reason"] = "lists no NPU"
    return [head, *notes, *({"gpu": gpu} for gpu in gpus)]


def _chip(address: str, npu: list[list[str]], cells: list[list[str]], seen: int) -> dict[str, Any]:
    # Cells of the NPU: number and name | health | power, temperature, ...; a chip's: chip [device] | address | usage.
    named = npu if npu and len(npu[0]) >= 2 and _COUNT.fullmatch(npu[0][0]) else [["?"], [], []]
    model = " ".join(named[0][1:])
    device = cells[0][1] if len(cells[0]) > 1 and _COUNT.fullmatch(cells[0][1]) else str(seen)
    return {
        "place": (named[0][0], cells[0][0]),
        "index": {"value": int(device)},
        "pci": {"value": address},
        "name": {"value": f"Ascend {model.removeprefix('Ascend')}".strip()} if model else {"reason": "is not named"},
        "architecture": {"value": model} if model else {"reason": "is not named"},
        "power_w": _number(named[2] if len(named) > 2 else [], 0),
        "temperature_c": _number(named[2] if len(named) > 2 else [], 1),
        "busy_percent": _number(cells[2], 0),
        **_memory(" ".join(cells[2])),
    }


def _memory(usage: str) -> dict[str, dict[str, Any]]:
    # "used / total" of the system memory and then of the HBM where there is one; a column may hold 0 / 0.
    pairs = [(int(used), int(total)) for used, total in _USAGE.findall(usage) if int(total)]
    if not pairs:
        return {key: {"reason": "is not in the table"} for key in ("memory_total_bytes", "memory_used_bytes")}
    used, total = pairs[-1]
    return {"memory_total_bytes": {"value": total * _MIB}, "memory_used_bytes": {"value": used * _MIB}}


def _number(words: list[str], index: int) -> dict[str, Any]:
    text = words[index] if index < len(words) else ""
    if not re.fullmatch(r"\d{1,6}(\.\d{1,3})?", text, re.ASCII):
        return {"reason": f"reads {text or 'nothing'}"}
    return {"value": float(text) if "." in text else int(text)}


def _process(cells: list[list[str]]) -> dict[str, Any]:
    name, memory = " ".join(cells[2]), "".join(cells[3])
    return {
        "pid": int(cells[1][0]),
        "name": {"value": name} if name else {"reason": "is not named"},
        "memory_bytes": {"value": int(memory) * _MIB} if _COUNT.fullmatch(memory) else {"reason": f"reads {memory}"},
    }
