"""What is installed, from facts and from libibverbs's own list."""

from __future__ import annotations

from pdpanel.nic_probe.sources.files import HostFiles
from pdpanel.nic_probe.sources.memory import MemoryTree
from pdpanel.nic_probe.state.facts import Facts
from pdpanel.nic_probe.state.software import Software, probe_software


def _probe(*files: str, **facts: object) -> Software:
    return probe_software(HostFiles(MemoryTree(dict.fromkeys(files, b"driver x\n"))), Facts(facts))


def test_packages_and_libraries() -> None:
    software = _probe(
        packages={"torch": "2.9.1+cu128", "vllm": 3},
        libraries={"libmlx5.so.1": "", "libcuda.so.1": "cannot open"},
        missing_libraries={"mooncake": ["libcudart.so.12", "libglog.so.1"]},
        wheel_libraries=["libcudart.so.12"],
        python="3.11.8",
    )
    assert software.packages.value == {"torch": "2.9.1+cu128"}
    assert [software.loads(name) for name in ("libmlx5.so.1", "libcuda.so.1", "libx.so")] == [True, False, None]
    assert software.lacks("mooncake") == ("libglog.so.1",)
    assert software.lacks("nixl") is None
    assert software.python.value == "3.11.8"


def test_nothing_is_known_without_facts() -> None:
    software = _probe()
    assert software.lacks("mooncake") is None
    assert software.packages.reason == "is not among the facts"


def test_the_drivers_that_libibverbs_loads() -> None:
    files = ("etc/libibverbs.d/mlx5.driver", "etc/libibverbs.d/rxe.driver", "etc/libibverbs.d/README")
    assert _probe(*files).verbs_providers.value == ("mlx5", "rxe")
    assert _probe().verbs_providers.value is None
