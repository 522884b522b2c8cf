"""What is right gives no error: published cases, own cases, presets, and the examples of the documents."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pdpanel.nic_probe.finding import Finding, Severity
from pdpanel.panel.deployment import Deployment, parse_deployment
from pdpanel.panel.doctor.deployment import check_plan
from pdpanel.panel.host_facts import elsewhere
from pdpanel.panel.lint.importing import import_text
from pdpanel.panel.plan import plan
from pdpanel.presets import load_preset, preset_names

from .inputs import deployment_of
from .own_cases import OWN_CASES
from .test_golden import COMPLETED, launches

SEEDS = Path(__file__).resolve().parents[4] / "shared" / "seeds"
# The document's own mistake: 64 GPUs on a node of 8.
_WRONG_CASE = "s003-ep-mooncake-seed-literal"
_WRONG_HEADING = "EP Backend"
_HEADING = re.compile(r"\n(?=#{2,4} |[A-Z][^\n]{2,60}#\n)")
_WORKER = re.compile(r"sglang\.launch_server|api_server")


def errors(deployment: Deployment) -> list[str]:
    """Returns the errors that `pdpanel render` prints."""
    return described(check_plan(plan(deployment, elsewhere(), None)))


def described(findings: tuple[Finding, ...]) -> list[str]:
    return [f"{each.id}: {each.reason}" for each in findings if each.severity is Severity.ERROR]


@pytest.mark.parametrize("name", sorted(set(launches()) - {_WRONG_CASE}) or ["none"])
def test_a_published_case_is_no_error(name: str) -> None:
    if not launches():
        pytest.skip("shared/golden is not beside the checkout")
    inputs = {**launches()[name]["inputs"], **COMPLETED.get(name, {})}
    assert errors(parse_deployment(deployment_of(inputs))) == []


@pytest.mark.parametrize("name", OWN_CASES)
def test_an_own_case_is_no_error(name: str) -> None:
    assert errors(parse_deployment(deployment_of(OWN_CASES[name][0]))) == []


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_is_no_error(name: str) -> None:
    assert errors(parse_deployment(load_preset(name))) == []


def test_an_error_is_one() -> None:
    experts = {"engine": "sglang", "model": "org/moe", "tp": 8, "dp": 8, "ep_backend": "mooncake"}
    assert [each.partition(":")[0] for each in errors(parse_deployment(deployment_of(experts)))] == [
        "dp-without-attention",
        "dp-without-attention",
    ]


def examples() -> Iterator[tuple[str, str]]:
    """Yields the parts of the documents that start workers, each under the document's number and its heading.

    The config of 002 stands in another part than its commands, so that document is one.
    """
    for path in sorted(SEEDS.glob("*.txt")):
        text, number = path.read_text("utf-8"), path.name[:3]
        for place, part in enumerate([text] if number == "002" else _HEADING.split(text)):
            if _WORKER.search(part):
                heading = part.strip().splitlines()[0].strip("# ")
                yield f"{number}-{place}-{heading}", part


@pytest.mark.parametrize(("name", "text"), list(examples()) or [("none", "")])
def test_an_example_of_a_document_is_no_error(name: str, text: str) -> None:
    if not text:
        pytest.skip("shared/seeds is not beside the checkout")
    if "-backend ascend" in text:
        # The document gives the store's address in another part, and there it is a row of x.
        text = f"export ASCEND_MF_STORE_URL=tcp://10.0.0.1:24669\n{text}"
    imported = import_text(text)
    assert imported.deployment is not None
    found = errors(imported.deployment)
    if _WRONG_HEADING in name:
        assert found and all("64 GPUs" in each for each in found)
    else:
        assert found == [] and described(imported.findings) == []
