"""A plan by its nodes: names for files, who has which file, and where a process is asked from."""

from __future__ import annotations

from dataclasses import replace

from export_plans import plan_of, process, two_nodes
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.panel.export.nodes import config_files, environment, file_labels, nodes_of, ready_url
from pdpanel.panel.launch import PlannedFile, Request, Role


@given(st.lists(st.text(max_size=8) | st.sampled_from(["a", "A", "a-2", "fd00::1", "..", "-", "a/b"]), max_size=8))
def test_labels_are_file_names_and_differ(names: list[str]) -> None:
    labels = file_labels(names)
    assert len({label.lower() for label in labels}) == len(names)
    for label in labels:
        assert label and label[0] not in ".-"
        assert all(char.isascii() and (char.isalnum() or char in "._-") for char in label)


def test_plain_names_stay() -> None:
    assert file_labels(["prefill-0", "node-1.example.org", "10.0.0.1"]) == (
        "prefill-0",
        "node-1.example.org",
        "10.0.0.1",
    )
    assert file_labels(["fd00::1", "fd00:;1"]) == ("fd00__1", "fd00__1-2")


def test_nodes_have_their_processes_files_and_requests() -> None:
    plan = two_nodes()
    own = PlannedFile("own.json", "{}", node="b")
    asked = (Request(("curl", "x"), node=""), Request(("curl", "y"), node="c"))
    a, b, c = nodes_of(replace(plan, files=(*plan.files, own), requests=asked))
    assert [node.name for node in (a, b, c)] == ["a", "b", "c"]
    assert [spec.name for spec in a.processes] == ["etcd", "prefill-0", "router"]
    assert [file.path for file in config_files(b)] == ["b/mooncake.json", "b/own.json"]
    assert [file.path for file in config_files(c)] == ["c/mooncake.json"]
    assert [request.argv[1] for request in a.requests] == ["x"], "a request without a node is the router's"
    assert [request.argv[1] for request in c.requests] == ["y"]
    assert (a.address, c.address) == ("10.7.0.1", "fd00::3")


def test_one_host_without_a_name_is_called_as_the_run() -> None:
    (node,) = nodes_of(plan_of(process("p"), files=(PlannedFile("x", "y"),)))
    assert (node.name, node.label, node.address) == ("", "pd", "127.0.0.1")
    assert [file.path for file in config_files(node)] == ["pd/x"]


def test_a_server_on_all_addresses_is_asked_at_its_node_by_others() -> None:
    plan = two_nodes()
    etcd, rank = plan.process("etcd"), plan.process("decode-0-rank1")
    assert etcd is not None and rank is not None
    assert ready_url(plan, etcd, "a") == "http://127.0.0.1:2379/health"
    assert ready_url(plan, etcd, "b") == "http://10.7.0.1:2379/health"
    assert ready_url(plan, rank, "a") == ""
    on_c = process("x", role=Role.METADATA, node="c", url="http://0.0.0.0:80/health")
    assert ready_url(plan, on_c, "a") == "http://[fd00::3]:80/health"
    worker = plan.process("prefill-0")
    assert worker is not None
    assert ready_url(plan, worker, "b") == worker.ready.url


def test_variables_that_name_a_run_stay_behind() -> None:
    spec = process("p", env={"A": "1", "PDPANEL_RUN_ID": "x", "PDPANEL_PROCESS": "p"})
    assert environment(spec) == {"A": "1"}
