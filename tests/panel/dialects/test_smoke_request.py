from __future__ import annotations

import json

import pytest
from pdpanel.panel.deployment_parts import SmokeTestSpec
from pdpanel.panel.dialects.placement import PlacedRouter
from pdpanel.panel.dialects.smoke_request import asked_host, completions_request, generate_request


def router(listen: str) -> PlacedRouter:
    return PlacedRouter("sglang-router", listen, 8000, node="n1", address="10.0.0.1")


@pytest.mark.parametrize(
    ("listen", "asked"),
    [("0.0.0.0", "127.0.0.1"), ("127.0.0.1", "127.0.0.1"), ("::", "::1"), ("10.0.0.1", "10.0.0.1"), ("n1", "n1")],
)
def test_the_address_that_reaches_a_server_on_its_own_node(listen: str, asked: str) -> None:
    assert asked_host(listen) == asked


def test_the_dialects_prompt_and_a_persons_own() -> None:
    plain = generate_request(router("0.0.0.0"), SmokeTestSpec(), "hello")
    assert plain.node == "n1"
    assert plain.argv[:4] == ("curl", "-X", "POST", "http://127.0.0.1:8000/generate")
    assert plain.argv[-1] == '{"text": "hello", "sampling_params": {"temperature": 0}}'
    own = generate_request(router("::"), SmokeTestSpec(prompt='"$(x)', temperature=0.5, max_tokens=4), "hello")
    assert own.argv[3] == "http://[::1]:8000/generate"
    assert json.loads(own.argv[-1]) == {
        "text": '"$(x)',
        "sampling_params": {"temperature": 0.5, "max_new_tokens": 4},
    }


def test_completions() -> None:
    asked = completions_request(router("0.0.0.0"), SmokeTestSpec(temperature=1), "m", "San", 7)
    assert asked.argv[:3] == ("curl", "-s", "http://localhost:8000/v1/completions")
    assert asked.argv[-1] == '{"model": "m", "prompt": "San", "max_tokens": 7, "temperature": 1}'
