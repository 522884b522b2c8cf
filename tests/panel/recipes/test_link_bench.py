from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pdpanel.engine.errors import ConfigError

from .rendering import argvs, ids, render


def test_without_a_port_there_is_only_the_target() -> None:
    rendered = render("link-bench", "target=n1")
    assert [command.role for command in rendered.commands] == ["target", "probe"]
    assert ids(rendered) == {"bench-target-port"}


def test_a_metadata_server_needs_names_in_place_of_a_port() -> None:
    texts = ["target=n1", "initiator=n2", "metadata_server=etcd://n1:2379"]
    target, initiator, _ = argvs(render("link-bench", *texts))
    assert "--local_server_name=n1" in target
    assert {"--segment_id=n1", "--local_server_name=n2"} <= set(initiator)
    for wrong, field in ([*texts, "rpc_port=1"], "rpc_port"), ([texts[0], texts[2]], "initiator"):
        with pytest.raises(ConfigError) as caught:
            render("link-bench", *wrong)
        assert caught.value.field == field


def test_devices_stand_in_for_discovery() -> None:
    for argv in argvs(render("link-bench", "target=n1", "rpc_port=1", "device_name=mlx5_0,mlx5_1"))[:2]:
        assert "--device_name=mlx5_0,mlx5_1" in argv
        assert "--auto_discovery" not in argv
    with pytest.raises(ConfigError, match="device_name"):
        render("link-bench", "target=n1", "device_name=mlx5_0", "protocol=tcp")
    with pytest.raises(ConfigError, match="device_name"):
        render("link-bench", "target=n1", "device_name=mlx5_0, mlx5_1")


def test_an_ipv6_target_is_bracketed() -> None:
    assert "--segment_id=[fd00::1]:99" in argvs(render("link-bench", "target=fd00::1", "rpc_port=99"))[1]


def test_gpu_memory_is_called_in_question() -> None:
    assert "bench-memory" in ids(render("link-bench", "target=n1", "rpc_port=1", "use_vram=0"))


@pytest.mark.parametrize("metadata", ["-x", "http://a b", "$(id)", "ftp://a", "etcd://", "a,"])
def test_bad_metadata_servers(metadata: str) -> None:
    with pytest.raises(ConfigError) as caught:
        render("link-bench", "target=n1", "initiator=n2", f"metadata_server={metadata}")
    assert caught.value.field == "metadata_server"


@pytest.mark.parametrize(
    "metadata",
    ["http://a:8080/metadata", "etcd://a:2379,b:2379", "10.0.0.1:2379", "redis://[fd00::1]:6379", "https://a/m"],
)
def test_every_form_of_a_metadata_server(metadata: str) -> None:
    for argv in argvs(render("link-bench", "target=n1", "initiator=n2", f"metadata_server={metadata}"))[:2]:
        assert f"--metadata_server={metadata}" in argv


def test_the_installed_benchmark_knows_the_flags() -> None:
    program = Path(sys.executable).with_name("transfer_engine_bench")
    if not program.exists():
        pytest.skip("Mooncake is not installed")
    done = subprocess.run([program, "--helpshort"], capture_output=True, text=True, timeout=50, check=False)
    known = set(re.findall(r"^ {4}-(\w+)", done.stdout + done.stderr, re.MULTILINE))
    if not known:
        pytest.skip("this build of Mooncake does not start on this host")
    texts = ["target=n1", "initiator=n2", "metadata_server=etcd://n1:2379", "protocol=rdma", "device_name=mlx5_0"]
    texts += ["backend=classic", "buffer_size=1", "operation=read", "block_size=1", "batch_size=1", "threads=1"]
    texts += ["duration=1", "report_unit=GB"]
    flags = {word[2:].partition("=")[0] for argv in argvs(render("link-bench", *texts))[:2] for word in argv[1:]}
    assert flags <= known
    assert len(flags) == 14


def test_perftest_on_both_sides() -> None:
    rendered = render("link-bench-perftest", "target=n1", "device=mlx5_0", "gid_index=0", "operation=read")
    target, initiator = rendered.commands
    common = ("ib_read_bw", "-F", "--report_gbits", "--ib-dev=mlx5_0", "--gid-index=0")
    assert (target.argv, initiator.argv) == (common, (*common, "n1"))
    assert (target.node, initiator.targets) == ("n1", ("n1",))


def test_a_topology_dump() -> None:
    texts = ["device_name=a,b", "backend=te", "custom_topo_json=/x y"]
    (argv,) = argvs(render("topology-dump", *texts))
    assert argv[1:] == ["--device-name=a,b", "--backend=te", "--custom-topo-json=/x y"]


def test_the_installed_dump_knows_its_options() -> None:
    program = shutil.which("transfer_engine_topology_dump", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("Mooncake is not installed")
    (argv,) = argvs(render("topology-dump", "device_name=a,b", "backend=te", "custom_topo_json=/x"))
    # --help ends the parser before anything is dumped, but after what stands in front of it.
    done = subprocess.run([program, *argv[1:], "--help"], capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
