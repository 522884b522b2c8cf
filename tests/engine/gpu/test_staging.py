"""Where staging pages of a GPU worker lie, and that the page copies keep their order."""

from __future__ import annotations

import pytest
from pdpanel.engine.gpu.staging import staged_notice, why_on_the_host


@pytest.mark.parametrize(
    ("kind", "installed", "word"),
    [
        ("tcp", {"mooncake-transfer-engine"}, "tcp"),
        ("shm", set[str](), "shm"),
        ("mooncake", {"mooncake-transfer-engine-non-cuda"}, "non-cuda"),
        ("mooncake", {"mooncake-transfer-engine-non-cuda", "mooncake-transfer-engine"}, "non-cuda"),
        ("mooncake", set[str](), "no Mooncake build"),
    ],
)
def test_transports_that_cannot_move_gpu_memory_say_why(kind: str, installed: set[str], word: str) -> None:
    notice = staged_notice(why_on_the_host(kind, installed.__contains__))
    assert word in notice and "staged through the host" in notice


@pytest.mark.parametrize("name", ["mooncake-transfer-engine", "mooncake-transfer-engine-cuda13"])
def test_mooncakes_builds_for_gpus_may_move_it(name: str) -> None:
    assert staged_notice(why_on_the_host("mooncake", {name}.__contains__)) == ""
