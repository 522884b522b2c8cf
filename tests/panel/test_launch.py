from __future__ import annotations

from dataclasses import replace

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.launch import (
    LaunchPlan,
    PlannedFile,
    ProcessSpec,
    Readiness,
    Role,
    decode_plan,
    encode_plan,
)

SPEC = ProcessSpec(
    name="decode-0",
    role=Role.DECODE,
    node="n",
    argv=("a", "b c", "'"),
    env={"K": "v"},
    cwd="/",
    ports={"http": 1},
    ready=Readiness("http://127.0.0.1:1/health", 1.5),
    log="decode-0.log",
    gpus=("GPU-1",),
    nics=("mlx5_0",),
)
PLAN = LaunchPlan("r", "m", "tcp", "127.0.0.1", "http://127.0.0.1:2", (SPEC,), (PlannedFile("a/b.json", "{}"),))


def test_a_plan_survives_json() -> None:
    assert decode_plan(encode_plan(PLAN)) == PLAN


@pytest.mark.parametrize(
    ("processes", "files"),
    [
        ((SPEC, SPEC), ()),
        ((replace(SPEC, argv=()),), ()),
        ((replace(SPEC, after=("later",)), replace(SPEC, name="later")), ()),
        ((replace(SPEC, log="../x"),), ()),
        ((SPEC,), (PlannedFile("/etc/passwd", ""),)),
        ((SPEC,), (PlannedFile("a/../../b", ""),)),
    ],
)
def test_a_plan_that_does_not_fit_together_is_refused(
    processes: tuple[ProcessSpec, ...], files: tuple[PlannedFile, ...]
) -> None:
    with pytest.raises(ConfigError):
        decode_plan(encode_plan(replace(PLAN, processes=processes, files=files)))


@pytest.mark.parametrize("data", [b"", b"{}", b"[1]", b"\xff", b'{"processes": 3}'])
def test_what_is_no_plan_is_refused(data: bytes) -> None:
    with pytest.raises(ConfigError, match=r"plan\.json"):
        decode_plan(data)
