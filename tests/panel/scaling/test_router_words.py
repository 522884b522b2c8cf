"""What a router's command says of its workers, and which routers are told while they run."""

from __future__ import annotations

import pytest
from pdpanel.panel.deployment import parse_deployment
from pdpanel.panel.host_facts import HostFacts
from pdpanel.panel.launch import ProcessSpec, Readiness, Role
from pdpanel.panel.plan import RunIds, plan
from pdpanel.panel.scaling.router_words import is_told_live, key_of, without_workers, worker_body, worker_url

PYTHON = ("python", "-m")
BUNDLED = (*PYTHON, "pdpanel.engine.launch_router")


def router(*argv: str) -> ProcessSpec:
    return ProcessSpec("router", Role.ROUTER, "", argv, {}, "", {}, Readiness("http://127.0.0.1:8000/x", 1), "r.log")


@pytest.mark.parametrize(
    ("argv", "live"),
    [
        (BUNDLED, True),
        ((*PYTHON, "sglang_router.launch_router"), True),
        (("/opt/bin/smg", "launch"), True),
        ((*PYTHON, "sglang_router.launch_router", "--mini-lb"), False),
        (("vllm-router",), False),
        (("python3", "proxy.py"), False),
    ],
)
def test_routers_that_take_workers_while_they_run(argv: tuple[str, ...], live: bool) -> None:
    assert is_told_live(router(*argv)) is live


def test_workers_are_taken_out_of_a_command() -> None:
    argv = (*BUNDLED, "--port", "8000", "--prefill", "http://a:1", "8998", "--decode", "http://b:2", "--policy", "x")
    assert without_workers(argv) == (*BUNDLED, "--port", "8000", "--policy", "x")
    assert without_workers((*BUNDLED, "--worker-urls", "http://a:1", "http://b:2")) == BUNDLED


@pytest.mark.parametrize(
    ("argv", "key"),
    [
        ((), ""),
        (("--api-key", "one"), "one"),
        (("--api-key", "one", "--admin-api-key=two"), "two"),
        (("--api-key",), ""),
    ],
)
def test_the_administrators_key_goes_first_and_is_never_printed(argv: tuple[str, ...], key: str) -> None:
    found = key_of(router(*BUNDLED, *argv))
    assert found.headers() == ({"Authorization": f"Bearer {key}"} if key else {})
    assert not key or key not in repr(found)


def test_a_worker_is_introduced_by_its_url_role_and_bootstrap_port() -> None:
    deployment = parse_deployment({"model": "m", "prefill": {"count": 1}, "decode": {"count": 1}})
    made = plan(deployment, HostFacts("here", 8, "python3"), RunIds("r", "/r", "/c"))
    prefill, decode = made.process("prefill-0"), made.process("decode-0")
    assert prefill is not None and decode is not None
    assert worker_body(prefill) == {
        "url": "http://127.0.0.1:30000",
        "worker_type": "prefill",
        "bootstrap_port": prefill.ports["bootstrap"],
    }
    assert worker_body(decode) == {"url": worker_url(decode), "worker_type": "decode"}
