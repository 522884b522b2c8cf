"""Fields that would cost without bound, mislead a reader or name nothing that could be reached."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.deployment import load_deployment, parse_deployment
from pdpanel.panel.host_facts import elsewhere
from pdpanel.panel.plan import plan
from pdpanel.panel.planning.node_ports import NodePorts
from pdpanel.panel.planning.read_nodes import read_nodes

PLAIN: dict[str, Any] = {"engine": "sglang", "model": "m", "prefill": {"count": 1}, "decode": {"count": 1}}


def refused(**fields: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        plan(parse_deployment(PLAIN | fields), elsewhere(), None)
    said = str(caught.value)
    assert said.isprintable()
    return said


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("fe80::1%eth0", "name of an interface"),
        ("fe80::1%$(reboot)", "name of an interface"),
        ("10.0.0.256", "is not an address"),
        ("1", "is not an address"),
        ("224.0.0.1", "no address that peers could reach"),
        ("255.255.255.255", "no address that peers could reach"),
        (".".join(["a" * 60] * 6), "is not a host name"),
    ],
)
def test_hosts_that_are_none(host: str, said: str) -> None:
    assert said in refused(prefill={"count": 1, "hosts": [host]}, decode={"count": 1, "hosts": ["b"]})


@pytest.mark.parametrize("pattern", ["10.0.0.[254-256]", "[1-2]", "a[1-2].", "10.0.[0-1]"])
def test_what_a_range_stands_for_has_to_be_hosts(pattern: str) -> None:
    said = refused(prefill={"count": 1, "hosts": [pattern]}, decode={"count": 1, "hosts": ["b"]})
    assert said.startswith("prefill.hosts = ")


def test_ranges_of_addresses_are_hosts() -> None:
    hosts = {"count": 2, "hosts": ["10.0.0.[1-2]"]}
    made = plan(parse_deployment(PLAIN | {"prefill": hosts, "decode": {"count": 1, "hosts": ["b"]}}), elsewhere(), None)
    assert [spec.node for spec in made.processes[:2]] == ["10.0.0.1", "10.0.0.2"]


def test_numbers_that_no_cluster_has_cost_nothing() -> None:
    assert "tp = 4096: comes to 68719476736 GPUs" in refused(prefill={"count": 1, "tp": 4096, "pp": 4096, "dp": 4096})
    far = {"count": 4096, "nodes": 4096, "hosts": ["a[1-4096]"], "tp": 4096}
    assert "prefill.count = 4096: comes to 16777217 processes" in refused(prefill=far)
    many = {f"n{number}-[1-4096]": {} for number in range(20)}
    assert "more than 8192 hosts" in refused(hosts=many)
    assert "more than 1000 entries" in refused(env={f"A{number}": "x" for number in range(1001)})
    assert "more than 16384 characters" in refused(model="x" * 20_000)


def test_text_that_shows_another_order_than_it_has_is_refused() -> None:
    assert "control characters" in refused(served_model_name="a\u202eb")
    assert "\\x1b" in refused(**{"\x1b[31mmodel": 1})


@pytest.mark.parametrize("run", [{"image": "--privileged"}, {"python": "-c"}, {"venv": "-x"}, {"cwd": ""}])
def test_a_program_is_never_an_option(run: dict[str, str]) -> None:
    assert refused(run=run).startswith(f"run.{next(iter(run))} = ")


def test_a_flag_cannot_hide_in_the_values_of_another() -> None:
    assert "taken for a flag" in refused(workers={"flags": {"lora-paths": ["a", "--model-path"]}})


def test_a_dump_in_the_home_of_nobody_is_one_sentence(tmp_path: Path) -> None:
    deployment = parse_deployment(PLAIN | {"hosts": {"a": {"dump": "~no-such-user/x"}}})
    with pytest.raises(ConfigError, match=r"hosts\.a\.dump = .*does not exist"):
        read_nodes(deployment, tmp_path)


@pytest.mark.parametrize("kind", ["fifo", "folder", "/dev/zero"])
def test_what_never_ends_or_begins_is_no_file(kind: str, tmp_path: Path) -> None:
    path = tmp_path / kind
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    with pytest.raises(ConfigError, match="is a "):
        load_deployment(path)


def test_a_wide_band_is_held_as_a_whole() -> None:
    ports = NodePorts({20_500}, (32768, 60999), "")
    assert ports.first_held(range(20_000, 21_000)) == 20_500
    assert not ports.free(20_000, range(1000))
    assert ports.free(21_000, range(1000))
    ports.hold(21_000, range(1000), "a band")
    assert ports.holder(21_999) == "a band"
    assert ports.holder(22_000) is None
    assert ports.first_held(range(21_900, 30_000)) == 21_900
    assert not ports.free(21_500)
    assert ports.take(21_999, "another") == 22_000
    assert not ports.free(65_000, range(1000))
