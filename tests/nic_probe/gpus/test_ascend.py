"""Tables in the layouts that `npu-smi info` documents, with invented values; and the command through the child."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.nic_probe.gpus.ascend import parse_npu_smi

if TYPE_CHECKING:
    from .conftest import Ask

WITH_HBM = """
+------------------------------------------------------------------------------------------------+
| npu-smi 25.0.rc1                 Version: 25.0.rc1                                             |
+---------------------------+---------------+----------------------------------------------------+
| NPU   Name                | Health        | Power(W)    Temp(C)           Hugepages-Usage(page)|
| Chip                      | Bus-Id        | AICore(%)   Memory-Usage(MB)  HBM-Usage(MB)        |
+===========================+===============+====================================================+
| 0     910B3               | OK            | 93.7        41                0    / 0             |
| 0                         | 0000:C1:00.0  | 17          0    / 0          3161 / 65536         |
+===========================+===============+====================================================+
| 1     910B3               | Alarm         | NA          42                15   / 15            |
| 0                         | 0000:01:00.0  | 0           1200 / 15665      4    / 32768         |
+===========================+===============+====================================================+
+---------------------------+---------------+----------------------------------------------------+
| NPU     Chip              | Process id    | Process name             | Process memory(MB)      |
+===========================+===============+====================================================+
| 0       0                 | 12345         | python3                  | 3001                    |
| 0       0                 | 12346         |                          | NA                      |
+===========================+===============+====================================================+
| No running processes found in NPU 1                                                            |
+===========================+===============+====================================================+
"""

TWO_CHIPS = """
+--------------------------------------------------------------------------------------------------------+
| npu-smi 24.1.0                                   Version: 24.1.0                                       |
+-------------------------------+-----------------+------------------------------------------------------+
| NPU     Name                  | Health          | Power(W)     Temp(C)           Hugepages-Usage(page) |
| Chip    Device                | Bus-Id          | AICore(%)    Memory-Usage(MB)                        |
+===============================+=================+======================================================+
| 6       310P3                 | OK              | NA           50                0     / 0             |
| 0       4                     | 0000:84:00.0    | 0            1839 / 21525                            |
+-------------------------------+-----------------+------------------------------------------------------+
| 6       310P3                 | OK              | NA           48                0     / 0             |
| 1       5                     | 0000:85:00.0    | 3            1100 / 21525                            |
+===============================+=================+======================================================+
+-------------------------------+-----------------+------------------------------------------------------+
| NPU     Chip                  | Process id      | Process name             | Process memory(MB)        |
+===============================+=================+======================================================+
| 6       1                     | 777             | vllm                     | 99                        |
+===============================+=================+======================================================+
"""


def gpus_of(text: str) -> list[dict[str, Any]]:
    return [piece["gpu"] for piece in parse_npu_smi(text) if "gpu" in piece]


def values(gpu: dict[str, Any], *names: str) -> tuple[Any, ...]:
    return tuple(gpu[name].get("value", gpu[name].get("reason")) for name in names)


def test_a_table_with_hbm() -> None:
    head, note, *_ = parse_npu_smi(WITH_HBM)
    assert head == {"driver_version": {"value": "25.0.rc1"}, "count": {"value": 2}}
    assert note == {"note": "npu-smi calls the health of 0000:01:00.0 Alarm."}
    first, second = gpus_of(WITH_HBM)
    assert values(first, "index", "pci", "name", "architecture") == (0, "0000:c1:00.0", "Ascend 910B3", "910B3")
    # HBM counts, not the memory of the card's own processor.
    assert values(first, "memory_total_bytes", "memory_used_bytes") == (65536 << 20, 3161 << 20)
    assert values(second, "memory_total_bytes", "memory_used_bytes") == (32768 << 20, 4 << 20)
    assert values(first, "power_w", "temperature_c", "busy_percent") == (93.7, 41, 17)
    assert values(second, "index", "power_w", "temperature_c") == (1, "reads NA", 42)


def test_processes_belong_to_their_chip() -> None:
    first, second = gpus_of(WITH_HBM)
    assert first["processes"]["value"] == [
        {"pid": 12345, "name": {"value": "python3"}, "memory_bytes": {"value": 3001 << 20}},
        {"pid": 12346, "name": {"reason": "is not named"}, "memory_bytes": {"reason": "reads NA"}},
    ]
    assert second["processes"]["value"] == []
    assert [len(gpu["processes"]["value"]) for gpu in gpus_of(TWO_CHIPS)] == [0, 1]


def test_two_chips_of_one_card_have_their_own_numbers() -> None:
    first, second = gpus_of(TWO_CHIPS)
    assert values(first, "index", "pci", "memory_total_bytes") == (4, "0000:84:00.0", 21525 << 20)
    assert values(second, "index", "pci", "name", "busy_percent") == (5, "0000:85:00.0", "Ascend 310P3", 3)


@pytest.mark.parametrize(
    "text", ["", "dcmi model initialized failed, because the device is used. ret is -8020", "|||||"]
)
def test_no_table_is_a_reason(text: str) -> None:
    (head,) = parse_npu_smi(text)
    assert head["reason"] == "lists no NPU"


CELLS = st.lists(st.sampled_from(["0", "0000:C1:00.0", "OK", "3 / 4", "NA", "9" * 5000, "x", ""]), max_size=5)


@given(st.lists(CELLS, max_size=8), st.text())
def test_no_text_is_too_odd(rows: list[list[str]], rest: str) -> None:
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    head, *_ = parse_npu_smi(table + rest)
    assert head["count"]["value"] == len(gpus_of(table + rest))


def npu_smi(folder: Path, script: str) -> dict[str, str]:
    command = folder / "npu-smi"
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(0o755)
    return {"PATH": str(folder)}


def test_the_command_is_asked(ask: Ask, tmp_path: Path) -> None:
    """A fake command npu-smi stands for the real one."""
    answer: dict[str, Any] = ask(npu_smi(tmp_path, f"echo '{WITH_HBM}'"))["npu-smi"]
    assert [gpu["pci"]["value"] for gpu in answer["gpus"]] == ["0000:c1:00.0", "0000:01:00.0"]
    assert len(answer["notes"]) == 1


def test_a_command_that_fails_is_a_reason(ask: Ask, tmp_path: Path) -> None:
    answer = ask(npu_smi(tmp_path, "echo no driver >&2; exit 3"))["npu-smi"]
    assert answer["reason"] == "cannot be asked: npu-smi ended with 3 and said 'no driver'"


def test_no_command_is_a_reason(ask: Ask) -> None:
    answer = ask({"PATH": "/nonexistent"})["npu-smi"]
    assert answer["reason"] == "cannot be asked because the command npu-smi is not installed"
    assert answer["absent"] is True
