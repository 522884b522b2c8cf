"""README.md of an export: what is where, in which order, and no text of a plan that acts as Markdown."""

from __future__ import annotations

from dataclasses import replace

from export_plans import deployment, plan_of, process, two_nodes
from pdpanel.nic_probe.finding import Evidence, Finding, Severity
from pdpanel.panel.export.export import export_files
from pdpanel.panel.export.readme import code
from pdpanel.panel.launch import PlannedFile


def text(plan, form: str = "sh") -> str:
    return next(file.text for file in export_files(plan, deployment(), form) if file.path == "README.md")


def test_nodes_are_started_in_order_and_stopped_the_other_way() -> None:
    shown = text(two_nodes())
    assert shown.index("`./a.sh start`") < shown.index("`./b.sh start`") < shown.index("`./c.sh start`")
    assert "the last one first" in shown
    assert "on `a`: `./a.sh test`" in shown
    assert "| `b` | `decode-0` | http 30000, dist 5000 | `http://10.7.0.2:30000/health` answers |" in shown
    assert "nft delete table inet pdpanel_pd" in shown


def test_ports_that_no_rule_names_are_told() -> None:
    plan = two_nodes()
    ranks = replace(plan, processes=tuple(replace(spec, rank=int("rank1" in spec.name)) for spec in plan.processes))
    assert "meet at ports that the kernel chooses" in text(ranks)
    assert "that the kernel chooses" not in text(plan)


def test_one_host_has_no_word_of_others() -> None:
    shown = text(plan_of(process("p")))
    assert "`./pd.sh start`" in shown and "firewall" not in shown and "each node" not in shown


def test_what_the_plan_noticed_is_there() -> None:
    noticed = Finding(
        id="a-thing",
        severity=Severity.WARNING,
        subject="x",
        evidence=(Evidence("plan", "y"),),
        reason="It is odd.",
        remedy="Change it.",
    )
    shown = text(replace(plan_of(process("p")), findings=(noticed,)))
    assert "- warning a-thing: It is odd. Change it." in shown


def test_a_program_of_the_engines_repository_is_named() -> None:
    own, lacking = PlannedFile("proxy_server.py", "x\n", shared=True), "examples/proxy.py"
    plan = plan_of(
        process("p"), process("router", ("python3", lacking)), process("q", ("python3", own.path)), files=(own,)
    )
    shown = text(plan)
    assert f"`router` runs `{lacking}`, which is in the engine's repository" in shown
    assert "proxy_server.py`, which" not in shown
    assert "What else it takes" not in text(plan_of(process("p")))


def test_text_of_a_plan_is_code_on_one_line() -> None:
    assert code("a`b\n# c") == "`` a`b # c ``"
    assert code("") == "this host"
    hostile = text(replace(plan_of(process("p|q`")), model="x\n# y `z`"))
    assert "\n# y" not in hostile and "p\\|q`" in hostile
