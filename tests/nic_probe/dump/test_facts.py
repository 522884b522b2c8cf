"""What the live host says that no file does. Everything runs on the machine that the tests run on."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from pdpanel.nic_probe.dump.facts import _Child, allowed_variables, collect_facts


@pytest.fixture(scope="module", autouse=True)
def patience() -> Iterator[None]:
    """A busy machine makes no test fail."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pdpanel.nic_probe.dump.facts._FACTS_S", 40.0)
        yield


@pytest.fixture(scope="module")
def facts(patience: None) -> Mapping[str, object]:
    return collect_facts({"PATH": os.defpath, "CUDA_VISIBLE_DEVICES": "1,0"})


def test_facts_are_plain_json_and_name_their_version(facts: Mapping[str, object]) -> None:
    assert json.loads(json.dumps(facts)) == facts
    assert facts["version"] == 1
    assert facts["python"] == sys.version.split()[0]
    assert facts["environ"] == {"CUDA_VISIBLE_DEVICES": "1,0"}


def test_the_loopback_has_its_address_with_its_prefix(facts: Mapping[str, object]) -> None:
    addresses = facts["addresses"]
    assert isinstance(addresses, dict)
    assert "127.0.0.1/8" in addresses["lo"]


def test_limits_are_those_of_this_process(facts: Mapping[str, object]) -> None:
    limits = facts["rlimits"]
    assert isinstance(limits, dict)
    assert limits["nofile"] == list(resource.getrlimit(resource.RLIMIT_NOFILE))


def test_room_in_tmp_and_an_absent_device_are_told(facts: Mapping[str, object]) -> None:
    space, devices = facts["space"], facts["devices"]
    assert isinstance(space, dict) and isinstance(devices, dict)
    assert space["/tmp"]["total_bytes"] >= space["/tmp"]["free_bytes"] > 0
    expected = "character" if os.path.exists("/dev/infiniband/rdma_cm") else "absent"
    assert devices["/dev/infiniband/rdma_cm"]["kind"] == expected


def test_a_library_that_is_not_there_has_the_loaders_words(facts: Mapping[str, object]) -> None:
    libraries = facts["libraries"]
    assert isinstance(libraries, dict)
    absent = [name for name, error in libraries.items() if error]
    assert len(libraries) == 11
    assert all(name.split(".")[0] in libraries[name] for name in absent)


def test_installed_packages_have_their_versions(facts: Mapping[str, object]) -> None:
    packages = facts["packages"]
    assert isinstance(packages, dict)
    assert packages["nvidia-ml-py"][0].isdecimal()
    assert "pytest" not in packages


def test_a_package_whose_library_is_missing_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine is a library that nobody can load: a copy of one with the name of a library it needs changed.

    The original lies beside libc: one from a wheel finds its libraries next to itself, and a copy misses those.
    """
    source = next((found for found in _system_libraries() if b"libc.so.6\0" in found.read_bytes()), None)
    if source is None:
        pytest.skip("no shared library of this process needs libc.so.6")
    (tmp_path / "mooncake").mkdir()
    engine = tmp_path / "mooncake" / "engine.cpython-311-x86_64-linux-gnu.so"
    engine.write_bytes(source.read_bytes().replace(b"libc.so.6\0", b"libq.so.6\0"))
    monkeypatch.syspath_prepend(str(tmp_path))
    facts = collect_facts({})
    if "missing_libraries" not in facts:
        pytest.skip("this machine has no loader at the usual places")
    assert facts["missing_libraries"] == {"mooncake": ["libq.so.6"]}
    assert facts["wheel_libraries"] == []
    (tmp_path / "nvidia" / "c" / "lib").mkdir(parents=True)
    (tmp_path / "nvidia" / "c" / "lib" / "libq.so.6").touch()
    assert collect_facts({})["wheel_libraries"] == ["libq.so.6"]


def _system_libraries() -> list[Path]:
    """The libraries of this process in the folder of libc, without libc itself and the loader."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    loaded = {Path(line.split()[-1]) for line in lines if ".so" in line and line.split()[-1].startswith("/")}
    libc = next((path for path in loaded if path.name == "libc.so.6"), None)
    beside = [path for path in loaded if libc is not None and path.parent == libc.parent and path != libc]
    return sorted(path for path in beside if not path.name.startswith("ld-"))


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("https_proxy", "http://ada:p%40ss@proxy:3128", "http://***@proxy:3128"),
        ("HTTP_PROXY", "ada:secret@proxy:3128", "***@proxy:3128"),
        ("http_proxy", "http://ada:a@b/c@proxy", "http://***@proxy"),
        ("MC_METADATA_SERVER", "redis://:secret@10.0.0.1:6379", "redis://***@10.0.0.1:6379"),
        ("MC_X", "http://h/p?api_key=secret&x=1", "http://h/p?api_key=***&x=1"),
        ("LD_LIBRARY_PATH", "/opt/a:/opt/python@3.11/lib", "/opt/a:/opt/python@3.11/lib"),
        ("NCCL_IB_HCA", "mlx5_0:1,mlx5_1:1", "mlx5_0:1,mlx5_1:1"),
    ],
)
def test_credentials_in_a_value_are_masked(name: str, value: str, shown: str) -> None:
    assert allowed_variables({name: value}) == {name: shown}


@pytest.mark.parametrize("name", ["HOME", "HF_TOKEN", "SGLANG_API_KEY", "VLLM_API_KEY", "MC_REDIS_PASSWORD", "AWS_X"])
def test_other_variables_are_not_shown(name: str) -> None:
    assert allowed_variables({name: "x"}) == {}


def test_rows_of_nvidia_smi_become_gpus(tmp_path: Path) -> None:
    """The program is a script of the test, so this shows the reading of its rows and not the program's own words."""
    program = tmp_path / "nvidia-smi"
    rows = "0, GPU-1, NVIDIA H200, 00000000:18:00.0, 143771, 4\\n1, GPU-2, NVIDIA H200, 00000000:2A:00.0, [N/A], 0\\n"
    program.write_text(f"#!/bin/sh\nprintf '{rows}No devices were found\\n'\n")
    program.chmod(0o755)
    assert "gpus" not in collect_facts({"PATH": str(tmp_path)})
    gpus = collect_facts({"PATH": f"{tmp_path}:{os.defpath}"}, gpus_within_s=10)["gpus"]["nvidia_smi"]
    assert [gpu["pci"] for gpu in gpus] == ["0000:18:00.0", "0000:2a:00.0"]
    assert [gpu["memory_total_bytes"] for gpu in gpus] == [143771 << 20, None]


def test_a_library_that_ends_its_process_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    source, broken = tmp_path / "broken.c", tmp_path / "libbroken.so"
    source.write_text("#include <stdlib.h>\n__attribute__((constructor)) void begin(void) { abort(); }\n")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", broken, source], check=True, timeout=50)
    monkeypatch.setattr("pdpanel.nic_probe.dump.facts._LIBRARIES", f"{broken} libc.so.6")
    libraries = collect_facts({})["libraries"]
    assert libraries == {str(broken): "ends the process that loads it", "libc.so.6": ""}


def test_a_process_that_does_not_answer_is_killed() -> None:
    child = _Child(["/bin/sh", "-c", "exec sleep 600"], {"PATH": os.defpath})
    assert child.answer(time.monotonic() + 0.05) == ""
    assert child._process.returncode == -signal.SIGKILL


def test_without_a_way_to_start_processes_the_rest_is_still_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python3")
    facts = collect_facts({})
    assert "libraries" not in facts
    assert "addresses" in facts


def test_a_device_that_cannot_be_looked_at_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.symlink("/dev/null", tmp_path / "nvidia0")
    os.symlink("nowhere", tmp_path / "nvidia1")
    monkeypatch.setattr("pdpanel.nic_probe.dump.facts._DEVICES", f"{tmp_path}/nvidia*")
    devices = collect_facts({})["devices"]
    assert devices[f"{tmp_path}/nvidia0"]["kind"] == "character"
    assert devices[f"{tmp_path}/nvidia1"] == {"kind": "absent"}
