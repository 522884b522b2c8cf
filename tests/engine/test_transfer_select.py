"""Which transport is opened, and what is said when it is not the one asked for."""

from __future__ import annotations

import logging
import sys

import pytest
from pdpanel.engine.transfer import nixl
from pdpanel.engine.transfer.api import TransferSettings
from pdpanel.engine.transfer.faults import FaultPlan
from pdpanel.engine.transfer.select import Selection, open_endpoint

SETTINGS = TransferSettings(timeout_s=5.0)


def select(backend: str, environ: dict[str, str], faults: FaultPlan | None = None) -> Selection:
    return open_endpoint(backend, host="127.0.0.1", device="", settings=SETTINGS, environ=environ, faults=faults)


def test_without_mooncake_the_kv_travels_over_tcp_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mooncake.engine", None)
    environ = {"MC_TRANSFER_TIMEOUT": "99"}
    selection = select("mooncake", environ)
    assert (selection.requested, selection.used, selection.endpoint.kind) == ("mooncake", "tcp", "tcp")
    assert "cannot be imported" in selection.notice
    assert environ["MC_TRANSFER_TIMEOUT"] == "99", "what the user set wins"
    assert environ["MC_TCP_ENABLE_CONNECTION_POOL"] == "true"
    selection.endpoint.close()


def test_without_nixl_the_kv_travels_over_tcp_and_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nixl, "_PACKAGE", "no_such_package")
    selection = select("nixl", {})
    assert (selection.requested, selection.used) == ("nixl", "tcp")
    assert 'pip install "pdpanel[nixl]"' in selection.notice and "plain TCP" in selection.notice
    selection.endpoint.close()


def test_an_agent_that_does_not_start_is_a_notice_too() -> None:
    """Here its interpreter finds no module of ours at all."""
    selection = select("nixl", {"PYTHONHOME": "/nonexistent"})
    assert selection.used == "tcp" and "agent does not start: it ended with code 1" in selection.notice
    selection.endpoint.close()


@pytest.mark.parametrize("backend", ["tcp", "shm"])
def test_what_is_asked_for_is_used_and_nothing_is_said(backend: str) -> None:
    selection = select(backend, {})
    assert (selection.used, selection.endpoint.kind, selection.notice) == (backend, backend, "")
    selection.endpoint.close()


def test_faults_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        selection = select("tcp", {}, FaultPlan(drop=0.5))
    assert selection.used == "tcp"
    assert [record.levelname for record in caplog.records if record.message == "faulty_transport"] == ["WARNING"]
    selection.endpoint.close()


@pytest.mark.parametrize(
    ("host", "device", "given", "devices"),
    [
        ("127.0.0.1", "", {}, "lo"),
        ("::1", "", {}, "lo"),
        ("localhost", "", {}, "lo"),
        ("10.0.0.1", "", {}, None),
        ("node-7", "", {}, None),
        ("10.0.0.1", "mlx5_0,mlx5_1:2", {}, "mlx5_0:1,mlx5_1:2"),
        ("10.0.0.1", "mlx5_0", {"UCX_NET_DEVICES": "eth0"}, "eth0"),
    ],
)
def test_ucx_is_told_the_devices_and_stays_on_the_loopback_of_a_local_worker(
    host: str, device: str, given: dict[str, str], devices: str | None
) -> None:
    made = nixl._environment(given, host, device)
    assert made.get("UCX_NET_DEVICES") == devices
