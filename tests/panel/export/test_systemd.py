"""The exported units: what systemd makes of their words, and in which order it starts them."""

from __future__ import annotations

import re

from export_plans import NASTY, deployment, plan_of, process, two_nodes
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.panel.export.export import export_files
from pdpanel.panel.launch import LaunchPlan

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")) | st.sampled_from(NASTY)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"'}


def words(line: str, *, command: bool) -> list[str]:
    """Reads a line as systemd.syntax(7) says: words in double quotes, C escapes, %% for %, and in commands $$ for $."""
    assert "\n" not in line
    found: list[str] = []
    for quoted in re.findall(r'(?:^|(?<= ))(?:"((?:[^"\\]|\\.)*)"|(\S+))(?= |$)', line):
        text = re.sub(
            r"\\(x[0-9a-f]{2}|.)", lambda m: chr(int(m[1][1:], 16)) if len(m[1]) > 1 else _ESCAPES[m[1]], quoted[0]
        )
        text = text or quoted[1]
        assert not re.search(r"(?<!%)(%%)*%(?!%)", text), "a lone % is a specifier"
        text = text.replace("%%", "%")
        if command:
            assert not re.search(r"(?<!\$)(\$\$)*\$(?!\$)", text), "a lone $ is a variable"
            text = text.replace("$$", "$")
        found.append(text)
    return found


def units(plan: LaunchPlan) -> dict[str, list[tuple[str, str]]]:
    """The lines of each unit as names and values."""
    return {
        file.path: [(name, value) for name, _, value in (line.partition("=") for line in file.text.split("\n"))]
        for file in export_files(plan, deployment(), "systemd")
        if file.path.endswith((".service", ".target"))
    }


def values(unit: list[tuple[str, str]], name: str) -> list[str]:
    return [value for key, value in unit if key == name]


@given(st.lists(TEXT, max_size=5), st.dictionaries(st.sampled_from(["A", "B_1"]), TEXT))
def test_words_and_variables_arrive(arguments: list[str], env: dict[str, str]) -> None:
    (unit,) = (
        unit
        for path, unit in units(plan_of(process("p", ("python3", *arguments), env=env))).items()
        if path.endswith(".service")
    )
    (command,) = values(unit, "ExecStart")
    assert words(command, command=True) == ["/usr/bin/env", "--", "python3", *arguments]
    arrived = [pair for line in values(unit, "Environment") for pair in words(line, command=False)]
    assert arrived == [f"{name}={value}" for name, value in env.items()]


def test_units_wait_for_their_own_node_by_order_and_for_others_by_asking() -> None:
    made = units(two_nodes())
    assert len(made) == 5 + 3
    router = made["a/pdpanel-pd-router.service"]
    assert values(router, "After") == ["network-online.target pdpanel-pd-prefill-0.service"]
    waits = [words(line, command=True) for line in values(router, "ExecStartPre")]
    assert waits == [
        [
            "/usr/bin/env",
            "--",
            "/opt/pdpanel/pd/a/wait-for.sh",
            "decode-0",
            "http://10.7.0.2:30000/health",
            "120",
        ]
    ]
    assert values(router, "TimeoutStartSec") == ["270"], "its own time, that of the other, and some for the rest"
    rank = made["c/pdpanel-pd-decode-0-rank1.service"]
    assert values(rank, "ExecStartPost") == [], "it answers nobody"
    assert [words(line, command=True)[-2] for line in values(rank, "ExecStartPre")] == [
        "http://10.7.0.1:2379/health",
        "http://10.7.0.1:30000/health",
    ]
    target = made["a/pdpanel-pd.target"]
    assert values(target, "Wants") == ["pdpanel-pd-etcd.service pdpanel-pd-prefill-0.service pdpanel-pd-router.service"]


def test_units_let_rdma_lock_memory_and_stop_as_a_group() -> None:
    for path, unit in units(two_nodes()).items():
        if path.endswith(".service"):
            assert {("LimitMEMLOCK", "infinity"), ("KillMode", "control-group"), ("Restart", "on-failure")} <= set(unit)
            assert values(unit, "WorkingDirectory") == [f"/opt/pdpanel/pd/{path[0]}"]


def test_a_container_is_removed_when_its_client_is_gone() -> None:
    client = process("prefill-0", ("docker", "run", "--rm", "--name", "pd-prefill-0", "image", "engine"))
    unit = units(plan_of(client))["pd/pdpanel-pd-prefill-0.service"]
    assert values(unit, "ExecStopPost") == ['-/usr/bin/env -- "docker" "rm" "--force" "pd-prefill-0"']
    assert values(units(plan_of(process("p")))["pd/pdpanel-pd-p.service"], "ExecStopPost") == []
