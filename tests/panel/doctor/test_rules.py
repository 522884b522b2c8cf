from __future__ import annotations

import re

from pdpanel.nic_probe.checks.check import Rule
from pdpanel.panel.doctor.findings_doc import render_findings
from pdpanel.panel.doctor.rules import ALL_RULES, RULE_GROUPS, SEVERITIES
from pdpanel.panel.doctor.signatures import (
    accelerator,
    distributed,
    host,
    model,
    mooncake,
    mooncake_rdma,
    pdpanel,
    router,
    sglang,
    vllm,
)
from pdpanel.panel.doctor.signatures.catalog import SIGNATURES

_MODULES = (accelerator, distributed, host, model, mooncake, mooncake_rdma, pdpanel, router, sglang, vllm)


def test_ids_are_unique_and_in_kebab_case() -> None:
    ids = [rule.id for rule in ALL_RULES]
    assert sorted(set(ids)) == sorted(ids)
    assert [id_ for id_ in ids if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", id_)] == []


def test_every_rule_explains_itself() -> None:
    for rule in ALL_RULES:
        assert rule.title and not rule.title.endswith("."), rule.id
        assert len(rule.explanation) > 40 and rule.explanation.endswith("."), rule.id
        assert "\n" not in rule.title + rule.explanation, rule.id


def test_every_known_failure_says_where_it_is_known_from() -> None:
    for signature in SIGNATURES:
        assert signature.rule.references, signature.rule.id
        assert signature.rule.id in SEVERITIES


def test_the_catalog_has_every_module() -> None:
    assert sorted(signature.rule.id for module in _MODULES for signature in module.SIGNATURES) == sorted(
        signature.rule.id for signature in SIGNATURES
    )


def test_a_signature_is_whole() -> None:
    for signature in SIGNATURES:
        assert signature.needles, signature.rule.id
        assert all(needle == needle.lower() and len(needle) >= 3 for needle in signature.needles), signature.rule.id
        assert signature.reason.endswith((".", "}")), signature.rule.id
        assert signature.remedy.endswith((".", "}")), signature.rule.id


def test_the_page_has_every_id_once() -> None:
    page = render_findings()
    assert sorted(re.findall(r"^### (\S+)$", page, re.MULTILINE)) == sorted(rule.id for rule in ALL_RULES)
    assert re.findall(r"^## (.+)$", page, re.MULTILINE) == list(RULE_GROUPS)
    assert page == render_findings()
    assert page.endswith("\n") and not page.endswith("\n\n")


def test_text_is_escaped_and_issues_are_linked() -> None:
    rule = Rule("a-b", "<b>*", "See `x*y` and [this].", ("o/r#12", "a text"))
    page = render_findings({"One": (rule,)}, {})
    assert "\\<b\\>\\*." in page
    assert "See `x*y` and \\[this\\]." in page
    assert "[o/r#12](https://github.com/o/r/issues/12), a text." in page
