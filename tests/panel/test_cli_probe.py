"""The commands probe and topology as a process of their own, on hosts that the tests make."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import get_type_hints

import pytest
from pdpanel.panel import cli
from simulated_node import grow_node

from .test_cli import pdpanel


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return grow_node(tmp_path_factory.mktemp("node"), gpus=2, nics=2, gids=8).root


def test_probe_prints_json(tmp_path: Path, node: Path) -> None:
    done = pdpanel(tmp_path, "probe", "--json", "--root", str(node))
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert (len(document["gpus"]), len(document["nics"]), len(document["paths"])) == (2, 2, 4)
    assert document["host"]["live"] is False


def test_probe_for_people(tmp_path: Path, node: Path) -> None:
    done = pdpanel(tmp_path, "probe", "--root", str(node))
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(pdpanel(tmp_path, "probe", "--json", "--root", str(node)).stdout)
    for gpu in document["gpus"]:
        assert gpu["id"] in done.stdout
    for nic in document["nics"]:
        assert f"{nic['name']}:1" in done.stdout


def test_this_host_answers(tmp_path: Path) -> None:
    done = pdpanel(tmp_path, "probe", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert document["host"]["live"] is True
    assert document["host"]["cpu"]["threads"] > 0


def test_topology_is_what_mooncake_reads(tmp_path: Path, node: Path) -> None:
    done = pdpanel(tmp_path, "topology", "--mooncake", "--root", str(node))
    assert (done.returncode, done.stderr) == (0, "")
    rows = json.loads(done.stdout)
    document = json.loads(pdpanel(tmp_path, "topology", "--json", "--root", str(node)).stdout)
    assert rows == document["mooncake_topology"]
    assert {"cuda:0", "cuda:1", "cpu:0"} <= rows.keys()
    names = sorted({name for row in rows.values() for part in row for name in part})
    assert all(len(row) == 2 and sorted(row[0] + row[1]) == names for row in rows.values())


def test_topology_for_people_and_as_a_picture(tmp_path: Path, node: Path) -> None:
    text = pdpanel(tmp_path, "topology", "--root", str(node)).stdout
    assert "cuda:0" in text and "PIX" in text
    svg = pdpanel(tmp_path, "topology", "--svg", "--root", str(node)).stdout
    assert svg.startswith("<svg") and svg.rstrip().endswith("</svg>")


def test_a_dump_of_this_host_is_read_back(tmp_path: Path) -> None:
    dump = tmp_path / "node.tar.gz"
    done = pdpanel(tmp_path, "probe", "--dump", str(dump))
    assert (done.returncode, done.stderr) == (0, "")
    assert str(dump) in done.stdout
    live = json.loads(pdpanel(tmp_path, "probe", "--json").stdout)
    read_back = json.loads(pdpanel(tmp_path, "probe", "--json", "--root", str(dump)).stdout)
    assert read_back["host"]["cpu"]["model"] == live["host"]["cpu"]["model"]
    assert [netdev["name"] for netdev in read_back["host"]["netdevs"]] == [
        netdev["name"] for netdev in live["host"]["netdevs"]
    ]


def test_the_script_for_a_bare_node_runs_from_stdin(tmp_path: Path) -> None:
    script = tmp_path / "probe.pyz"
    assert pdpanel(tmp_path, "probe", "--pyz", str(script)).returncode == 0
    with script.open("rb") as source, (tmp_path / "bare.tar.gz").open("wb") as target:
        command = [sys.executable, "-I", "-S", "-"]
        subprocess.run(command, stdin=source, stdout=target, stderr=subprocess.PIPE, check=True, timeout=50)
    with tarfile.open(tmp_path / "bare.tar.gz") as tar:
        assert any(name.endswith("pdpanel/facts.json") for name in tar.getnames())
    assert pdpanel(tmp_path, "probe", "--root", str(tmp_path / "bare.tar.gz")).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["probe", "--root", "nowhere"], "--root = '"),
        (["probe", "--topology", "nowhere.xml"], "--topology = '"),
        (["probe", "--root", "a", "--topology", "b"], "cannot go with --root"),
        (["probe", "--root", "a", "--dump", "b"], "--dump = 'b': cannot go with --root"),
        (["probe", "--dump", "no/such/folder/x.tar.gz"], "--dump = 'no/such/folder/x.tar.gz': No such file"),
        (["topology", "--json", "--svg"], "give one of the three"),
        (["topology", "--root", "nowhere"], "--root = '"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(tmp_path: Path, arguments: list[str], said: str) -> None:
    done = pdpanel(tmp_path, *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("option", ["--dump", "--pyz"])
def test_a_pipe_that_nobody_reads_is_not_waited_for(tmp_path: Path, option: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    done = pdpanel(tmp_path, "probe", option, str(tmp_path / "pipe"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"pdpanel: {option} = ") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", [cli.probe, cli.show_topology, cli.doctor])
def test_who_reads_a_file_says_that_it_cannot_be_read(command: Callable[..., None]) -> None:
    """Typer would say it in four lines of its own; root, as which tests may run, can read everything."""
    hints = get_type_hints(command, include_extras=True).values()
    places = [hint.__metadata__[0] for hint in hints if "Path" in str(hint)]
    assert len(places) >= 2
    assert not any(place.readable for place in places)


def test_names_of_a_dump_bring_no_control_sequences(tmp_path: Path) -> None:
    node = grow_node(tmp_path / "node", gpus=1, nics=1, gids=1).root
    (node / "proc/sys/kernel/hostname").write_text("evil\x1b[31m\x07name\n")
    done = pdpanel(tmp_path, "probe", "--root", str(node))
    assert done.returncode == 0
    assert "\x1b" not in done.stdout and "\x07" not in done.stdout
