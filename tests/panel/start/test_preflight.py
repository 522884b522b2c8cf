from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.launch import LaunchPlan, ProcessSpec, Readiness, Role
from pdpanel.panel.start.preflight import check_startable, local_addresses

ENVIRON = {"PATH": os.defpath}


def made(argv: tuple[str, ...], addresses: dict[str, str] | None = None, cwd: str = "/") -> LaunchPlan:
    spec = ProcessSpec("prefill-0", Role.PREFILL, "n", argv, {}, cwd, {}, Readiness("", 1.0), "prefill-0.log")
    return LaunchPlan("pd", "m", "mooncake", "127.0.0.1", "", (spec,), dialect="sglang", addresses=addresses or {})


def test_a_program_that_is_not_installed_is_named_with_the_field() -> None:
    with pytest.raises(ConfigError) as caught:
        check_startable(made(("vllm-that-is-not-here", "serve")), ENVIRON, ())
    assert (caught.value.field, caught.value.value) == ("prefill-0.run", "vllm-that-is-not-here")
    assert "venv or image" in caught.value.remedy


def test_an_interpreter_without_the_engine_is_told_from_one_with_it(tmp_path: Path) -> None:
    (tmp_path / "engine_of_mine").mkdir()
    (tmp_path / "engine_of_mine" / "__init__.py").write_text("raise SystemError('never imported')\n")
    # Another name for the same interpreter: the panel's own is not asked.
    python = tmp_path / "python"
    python.symlink_to(sys.executable)
    plan = made((str(python), "-m", "engine_of_mine.launch_server"))
    with pytest.raises(ConfigError, match="without the package engine_of_mine"):
        check_startable(plan, ENVIRON, ())
    check_startable(plan, {**ENVIRON, "PYTHONPATH": str(tmp_path)}, ())


def test_a_program_beside_the_deployment_is_found_in_its_folder(tmp_path: Path) -> None:
    program = tmp_path / "tools" / "serve"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    check_startable(made(("tools/serve",), cwd=str(tmp_path)), ENVIRON, ())
    with pytest.raises(ConfigError, match="is not a program of this host"):
        check_startable(made(("tools/serve",), cwd="/"), ENVIRON, ())


def test_processes_of_another_host_are_not_started_here() -> None:
    plan = made((sys.executable, "-V"), {"node7": "10.9.8.7"})
    with pytest.raises(ConfigError) as caught:
        check_startable(plan, ENVIRON, local_addresses())
    assert (caught.value.field, caught.value.value) == ("hosts", "node7")
    assert "pdpanel export" in caught.value.remedy
    check_startable(made((sys.executable, "-V"), {"here": "127.0.0.1"}), ENVIRON, local_addresses())


def test_before_an_agreement_nothing_that_the_plan_names_is_run(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\ntouch {ran}\nexit 3\n")
    python.chmod(0o755)
    by_path = made((str(python), "-m", "engine_of_mine"))
    by_name = made(("python", "-m", "engine_of_mine"))
    for variables in ({"PATH": str(tmp_path)}, {"LD_PRELOAD": "/x.so"}, {"PYTHONPATH": "/x"}):
        brought = replace(by_name, processes=(replace(by_name.processes[0], env=variables),))
        check_startable(brought, {"PATH": str(tmp_path)}, (), agreed=False)
    check_startable(by_path, ENVIRON, (), agreed=False)
    assert not ran.exists()
    with pytest.raises(ConfigError, match="without the package"):
        check_startable(by_path, ENVIRON, ())
    assert ran.exists()


def test_before_an_agreement_this_hosts_own_interpreter_is_asked(tmp_path: Path) -> None:
    (tmp_path / "python").symlink_to(sys.executable)
    plan = made(("python", "-m", "engine_that_is_not_here"))
    with pytest.raises(ConfigError, match="without the package engine_that_is_not_here"):
        check_startable(plan, {"PATH": str(tmp_path)}, (), agreed=False)
