from __future__ import annotations

import stat
from pathlib import Path

import pytest
from pdpanel.panel.deployment import parse_deployment
from pdpanel.panel.host_facts import HostFacts
from pdpanel.panel.plan import RunIds, plan
from pdpanel.panel.start.consent import Consents, commands_text, consent_id, needs_consent

PAIR = {"model": "m", "prefill": {"count": 1}, "decode": {"count": 1}}


@pytest.mark.parametrize(
    "more",
    [
        {"env": {"LD_PRELOAD": "/tmp/x.so"}},
        {"run": {"python": "/tmp/python"}},
        {"run": {"image": "someone/sglang"}},
        {"prefill": {"count": 1, "env": {"PYTHONPATH": "/tmp"}}},
        {"decode": {"count": 1, "flags": {"trust-remote-code": True}}},
        {"workers": {"trust_remote_code": True}},
        {"router": {"flags": {"log-dir": "/etc"}}},
        {"hosts": {"127.0.0.1": {"run": {"venv": "/tmp/v"}}}},
        {"engine": "sglang"},
        {"host": "10.0.0.5"},
        {"router": {"host": "0.0.0.0"}},
        {"decode": {"count": 1, "hosts": ["10.0.0.5"]}},
        {"decode": {"count": 1, "hosts": ["here"]}, "hosts": {"here": {"address": "10.0.0.5"}}},
    ],
)
def test_whatever_its_author_brings_needs_an_agreement(more: dict[str, object]) -> None:
    assert needs_consent(parse_deployment({**PAIR, **more}))


def test_counts_and_a_model_for_the_bundled_engine_need_none() -> None:
    assert not needs_consent(parse_deployment({**PAIR, "transport": "tcp", "router": {"port": 9000}}))
    named = {"prefill": {"count": 1, "hosts": ["a"]}, "decode": {"count": 1, "hosts": ["localhost"]}}
    assert not needs_consent(parse_deployment({**PAIR, **named, "hosts": {"a": {"address": "127.0.0.2"}}}))


def test_an_agreement_is_to_one_version_of_a_deployment(tmp_path: Path) -> None:
    consents = Consents(tmp_path / "agreed")
    first = parse_deployment({**PAIR, "env": {"A": "1"}})
    second = parse_deployment({**PAIR, "env": {"A": "2"}})
    assert not consents.given(first)
    consents.give(first)
    assert consents.given(first) and not consents.given(second)
    assert consent_id(first) != consent_id(second)
    assert stat.S_IMODE((tmp_path / "agreed").stat().st_mode) == 0o700


def test_every_command_and_variable_is_shown() -> None:
    deployment = parse_deployment({**PAIR, "env": {"LD_PRELOAD": "/tmp/a b.so"}})
    made = plan(deployment, HostFacts("n1", 2, "/opt/py"), RunIds("r", "/r", "/c"))
    text = commands_text(made)
    assert text.count("LD_PRELOAD='/tmp/a b.so'") == len(made.processes) == 3
    assert all(" ".join(spec.argv) in text for spec in made.processes)
