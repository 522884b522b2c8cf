from __future__ import annotations

import json

import pytest
from pdpanel.engine.errors import ConfigError

from .rendering import render


def test_generate() -> None:
    (command,) = render("smoke-test", "host=::1", "port=9", "temperature=0", "max_tokens=5", "node=n1").commands
    assert command.argv[:4] == ("curl", "-X", "POST", "http://[::1]:9/generate")
    assert command.node == "n1"
    assert json.loads(command.argv[-1]) == {
        "text": "Tell me a long story",
        "sampling_params": {"temperature": 0, "max_new_tokens": 5},
    }


def test_completions() -> None:
    texts = ["api=completions", "host=localhost", "model=Qwen/Q", "prompt=San Francisco is a", "max_tokens=1000"]
    (command,) = render("smoke-test", *texts).commands
    assert command.argv[:3] == ("curl", "-s", "http://localhost:8000/v1/completions")
    assert command.argv[-1] == '{"model": "Qwen/Q", "prompt": "San Francisco is a", "max_tokens": 1000}'


@pytest.mark.parametrize(
    "texts", [["model=m"], ["api=completions"], ["api=completions", "model=-m"], ["api=completions", "model=a b"]]
)
def test_a_model_goes_with_completions(texts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        render("smoke-test", *texts)
    assert caught.value.field == "model"
