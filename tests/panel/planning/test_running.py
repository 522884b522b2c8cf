from __future__ import annotations

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.deployment import parse_deployment
from pdpanel.panel.deployment_parts import RunSpec
from pdpanel.panel.host_facts import HostFacts, elsewhere
from pdpanel.panel.launch import ProcessSpec, Readiness, Role
from pdpanel.panel.plan import RunIds, plan
from pdpanel.panel.planning.running import run_by


def spec(*argv: str, **env: str) -> ProcessSpec:
    return ProcessSpec("prefill-0", Role.PREFILL, "n", argv, env, "", {}, Readiness("", 1.0), "prefill-0.log")


def run(made: ProcessSpec, **how: object) -> ProcessSpec:
    return run_by(made, RunSpec.model_validate(how), "pd-prefill-0", gpus=True, rdma=True)


@pytest.mark.parametrize("word", ["python", "python3", "python3.11", "/usr/bin/python3"])
def test_an_interpreter_takes_the_place_of_any_other(word: str) -> None:
    assert run(spec(word, "-m", "x"), python="/opt/py").argv == ("/opt/py", "-m", "x")


def test_a_venv_has_programs_too() -> None:
    assert run(spec("vllm", "serve"), venv="/opt/v").argv == ("/opt/v/bin/vllm", "serve")
    assert run(spec("python3", "-m", "x"), venv="/opt/v").argv[0] == "/opt/v/bin/python3"
    assert run(spec("/usr/bin/etcd"), venv="/opt/v").argv[0] == "/usr/bin/etcd"


def test_an_empty_part_changes_nothing() -> None:
    made = spec("python3", "-m", "x", A="1")
    assert run(made) == made


def test_a_container_gets_devices_variables_and_the_command_as_it_is() -> None:
    argv = run(spec("/opt/py/bin/python3", "-m", "x", "--a=$(b)", MC_X="1 2", PDPANEL_RUN_ID="r"), image="i:1").argv
    words = " ".join(argv)
    assert argv[:2] == ("docker", "run")
    assert argv[-5:] == ("i:1", "python3", "-m", "x", "--a=$(b)")
    assert argv[argv.index("--env") + 1] == "MC_X=1 2" and "PDPANEL" not in words
    assert "--device /dev/infiniband --cap-add IPC_LOCK" in words and "--gpus all" in words
    assert "memlock=-1:-1" in words and "--name pd-prefill-0" in words


def test_a_persons_devices_stand_in_for_the_usual_ones() -> None:
    argv = run(spec("vllm"), image="i", runtime="podman", args=["--device=/dev/kfd", "--shm-size=64g"]).argv
    assert argv[0] == "podman"
    assert "--gpus" not in argv and "nvidia.com/gpu=all" not in argv
    assert argv[argv.index("i") - 2 : argv.index("i")] == ("--device=/dev/kfd", "--shm-size=64g")


def test_a_venv_in_an_image_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"run\.venv"):
        run(spec("python3"), image="i", venv="/v")


def test_the_part_of_a_host_goes_over_that_of_a_role_and_of_all() -> None:
    deployment = parse_deployment(
        {
            "model": "m",
            "run": {"python": "/all"},
            "hosts": {"10.0.0.2": {"run": {"python": "/host"}, "env": {"H": "2"}}},
            "prefill": {"count": 1, "hosts": ["10.0.0.1"], "run": {"python": "/role"}},
            "decode": {"count": 1, "hosts": ["10.0.0.2"], "run": {"python": "/role"}},
        }
    )
    made = plan(deployment, elsewhere(), None)
    first = {spec.name: spec.argv[0] for spec in made.processes}
    assert first == {"prefill-0": "/role", "decode-0": "/host", "router": "/all"}
    decode = made.process("decode-0")
    assert decode is not None and decode.env["H"] == "2"


def test_the_panels_own_interpreter_does_not_go_into_an_image() -> None:
    deployment = parse_deployment({"model": "m", "unified": {"count": 1}, "run": {"image": "i"}})
    made = plan(deployment, HostFacts("n", 2, "/home/me/bin/python3"), RunIds("r", "/r", "/c"))
    argv = made.processes[0].argv
    assert argv[argv.index("i") + 1] == "python3"
    assert "/r:/deployment" in argv and "--gpus" not in argv
