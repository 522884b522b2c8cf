"""Health of GPUs, from values that a test makes."""

from __future__ import annotations

from typing import Any

import pytest
from check_case import GPU_PCI, Case, found, make_view
from pdpanel.nic_probe.checks.view import HostView
from pdpanel.nic_probe.finding import Severity
from simulated_host import make_gpu, read, unread


def _view(first: dict[str, Any], second: dict[str, Any] | None = None) -> HostView:
    return make_view([make_gpu(GPU_PCI[0], 0, health=first), make_gpu(GPU_PCI[1], 1, health=second or {})])


def _links(up: int, down: int) -> dict[str, Any]:
    return {"nvlinks_active": read(up), "nvlinks_inactive": read(down)}


CASES = (
    Case("gpu-persistence-off", Severity.INFO, lambda: _view({"persistence": read(False)}), make_view, "-pm 1"),
    Case("gpu-memory-errors", Severity.WARNING, lambda: _view({"ecc_uncorrected": read(2)}), make_view, "--gpu-reset"),
    Case(
        "gpu-throttled",
        Severity.WARNING,
        lambda: _view({"throttle_reasons": read(("HwThermalSlowdown", "SwPowerCap"))}),
        lambda: _view({"throttle_reasons": read(("ApplicationsClocksSetting",))}),
        "fans",
    ),
    Case("gpu-power-limit", Severity.WARNING, lambda: _view({"power_limit_w": read(500.0)}), make_view, "-pl"),
    Case("nvlink-down", Severity.WARNING, lambda: _view(_links(16, 2), _links(18, 0)), make_view, "nvlink -s"),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_check_finds_it_and_keeps_silent_otherwise(case: Case) -> None:
    case.verify()


def test_rows_that_wait_for_a_reset_and_correction_that_is_off() -> None:
    (finding,) = found("gpu-memory-errors", _view({"memory_retired_pending": read(True)}))
    assert finding.severity is Severity.WARNING
    (finding,) = found("gpu-memory-errors", _view({"ecc_enabled": read(False)}))
    assert finding.severity is Severity.INFO


def test_a_power_cap_is_no_fault() -> None:
    (finding,) = found("gpu-throttled", _view({"throttle_reasons": read(("SwPowerCap",)), "temperature_c": unread()}))
    assert (finding.severity, len(finding.evidence)) == (Severity.INFO, 1)


def test_a_limit_that_was_lowered_on_all_alike() -> None:
    (finding,) = found("gpu-power-limit", _view({"power_limit_w": read(600.0)}, {"power_limit_w": read(600.0)}))
    assert finding.severity is Severity.INFO


def test_cards_without_a_bridge_and_pairs_with_one_are_no_fault() -> None:
    assert found("nvlink-down", _view(_links(0, 12), _links(0, 12))) == []
    assert found("nvlink-down", _view(_links(4, 8), _links(4, 8))) == []


def test_a_gpu_without_any_link_beside_one_that_has_them() -> None:
    (finding,) = found("nvlink-down", _view(_links(0, 18), _links(18, 0)))
    assert finding.subject == GPU_PCI[0]
