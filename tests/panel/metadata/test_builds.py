from __future__ import annotations

import importlib.metadata

import pytest
from pdpanel.panel.metadata.address import Scheme
from pdpanel.panel.metadata.builds import MooncakeBuild, installed_build, speaks

PLAIN, NON_CUDA = "mooncake-transfer-engine", "mooncake-transfer-engine-non-cuda"


@pytest.mark.parametrize(
    ("package", "version", "machine", "etcd"),
    [
        (PLAIN, "0.3.13", "x86_64", True),
        (PLAIN, "0.3.13", "aarch64", False),
        (f"{PLAIN}-cuda13", "0.3.13", "aarch64", False),
        (NON_CUDA, "0.3.13.post1", "aarch64", True),
        (f"{PLAIN}-npu", "0.3.13", "aarch64", True),
        (PLAIN, "0.3.2.post1", "x86_64", False),
        (PLAIN, "0.3.3", "x86_64", True),
        (PLAIN, "1.0", "x86_64", True),
        (PLAIN, "unknown", "x86_64", True),
    ],
)
def test_etcd_depends_on_the_wheel(package: str, version: str, machine: str, etcd: bool) -> None:
    assert speaks(MooncakeBuild(package, version, machine), Scheme.ETCD) is etcd


def test_the_files_of_a_build_know_better_than_its_name() -> None:
    assert speaks(MooncakeBuild(PLAIN, "0.3.2", "aarch64", True), Scheme.ETCD)
    assert not speaks(MooncakeBuild(PLAIN, "0.3.13", "x86_64", False), Scheme.ETCD)


def test_every_wheel_speaks_http_and_p2p_and_none_redis() -> None:
    build = MooncakeBuild(PLAIN, "0.3.13", "x86_64")
    assert [speaks(build, scheme) for scheme in Scheme] == [True, True, True, True, False]


def test_the_installed_build_is_found() -> None:
    pytest.importorskip("mooncake", reason="Mooncake is not installed")
    build = installed_build()
    assert build is not None
    assert build.version == importlib.metadata.version(build.package)
    assert build.etcd is not None


def test_no_build_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "distributions", lambda: ())
    assert installed_build() is None
