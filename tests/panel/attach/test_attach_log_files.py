from __future__ import annotations

import os
from pathlib import Path

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.attach.answers import Identity
from pdpanel.panel.attach.discover import Discovered, FoundServer
from pdpanel.panel.attach.log_files import find_logs, role_of_log
from pdpanel.panel.attach.plan import attached_plan
from pdpanel.panel.launch import Role, decode_plan, encode_plan

MAD = {
    "prefill_NODE0.log": Role.PREFILL,
    "prefill_NODE1.log": Role.PREFILL,
    "decode_NODE2.log": Role.DECODE,
    "etcd_NODE0.log": Role.METADATA,
    "proxy_NODE0.log": Role.PROXY,
    "pd_sglang_bench_serving.sh_NODE0.log": Role.SUBMIT,
    "benchmark_17_20261121_xP2_yD1_Llama-3.1-8B_CONCURRENCY.log": Role.SUBMIT,
    "router.log": Role.ROUTER,
    "vllm.out": Role.UNIFIED,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in MAD:
        (tmp_path / name).write_text(f"{name}\n")
    (tmp_path / "models.yaml").write_text("no log")
    return tmp_path


@pytest.mark.parametrize(("name", "role"), MAD.items())
def test_a_name_tells_the_role(name: str, role: Role) -> None:
    assert role_of_log(name) is role


def test_a_folder_in_mads_layout_becomes_processes(folder: Path) -> None:
    made = attached_plan("mad", Discovered(None, ()), find_logs(str(folder), ()))
    assert made.plan == decode_plan(encode_plan(made.plan))
    assert made.plan.attached
    names = {spec.name: Path(made.links[spec.name]).name for spec in made.plan.processes}
    assert names["prefill-0"] == "prefill_NODE0.log"
    assert names["prefill-1"] == "prefill_NODE1.log"
    assert names["decode-0"] == "decode_NODE2.log"
    assert names["metadata-0"] == "etcd_NODE0.log"
    assert names["benchmark-17-20261121-xp2-yd1-llama-3-1-8b-concurrency"].endswith("_CONCURRENCY.log")
    assert sorted(names.values()) == sorted(MAD)


def test_a_log_belongs_to_the_worker_of_its_role(folder: Path) -> None:
    workers = tuple(FoundServer(f"http://a:{port}", Role.PREFILL, Identity()) for port in (1, 2, 3))
    made = attached_plan("x", Discovered(None, workers), find_logs("", (str(folder / "prefill_NODE0.log"),)))
    assert made.links == {"prefill-0": str(folder / "prefill_NODE0.log")}
    assert [spec.ready.url for spec in made.plan.processes] == [f"http://a:{port}/health" for port in (1, 2, 3)]
    assert all(spec.argv == () for spec in made.plan.processes)


def test_links_in_a_folder_are_not_followed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A folder may belong to somebody else, who puts a link to a file of this person there."""
    secret = tmp_path_factory.mktemp("home") / "secret.log"
    secret.write_text("secret")
    (folder / "decode_NODE9.log").symlink_to(secret)
    assert secret not in {log.path for log in find_logs(str(folder), ())}


def test_what_cannot_be_attached_is_said(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    os.mkfifo(folder / "fifo.log")
    for file, why in (
        ("relative.log", "absolute"),
        (str(folder / "none.log"), "No such file"),
        (str(folder), "not a plain file"),
        (str(folder / "fifo.log"), "not a plain file"),
        ("/a\0b", "is not a path"),
    ):
        with pytest.raises(ConfigError, match=why):
            find_logs("", (file,))
    for place, why in (
        ("relative", "absolute"),
        (str(folder / "none"), "No such file"),
        (str(tmp_path_factory.mktemp("empty")), "holds no file"),
    ):
        with pytest.raises(ConfigError, match=why):
            find_logs(place, ())
