"""Exports of many deployments, judged by the programs that will read them: bash, shellcheck, systemd, nft, Compose."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import compose_spec
import pytest
import yaml
from compose_spec.models import ComposeSpecification
from export_plans import NASTY, deployment, plan_of, process, two_nodes
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.deployment import Deployment, parse_deployment
from pdpanel.panel.export.export import export_files
from pdpanel.panel.export.writing import write_folder
from pdpanel.panel.host_facts import elsewhere
from pdpanel.panel.launch import LaunchPlan
from pdpanel.panel.plan import plan
from pdpanel.presets import load_preset, preset_names

pytestmark = pytest.mark.timeout(580)

FORMATS = ("sh", "env", "compose", "systemd")
HOSTS = {name: {"address": f"10.7.0.{number}"} for number, name in enumerate(("n1", "n2", "n3", "n4"), 1)}
PAIR = {"prefill": {"count": 1}, "decode": {"count": 1}}
SPREAD = {"prefill": {"count": 1, "hosts": ["n1"]}, "decode": {"count": 1, "hosts": ["n2"]}, "hosts": HOSTS}
WIDE = {
    "prefill": {"count": 1, "nodes": 2, "tp": 16, "hosts": ["n1", "n2"]},
    "decode": {"count": 1, "nodes": 2, "tp": 16, "hosts": ["n3", "n4"]},
    "hosts": HOSTS,
}
HOSTILE = '/models/it\'s "a" $(touch x) `y` ${HOME} %h -x 模型'
CASES: dict[str, dict[str, Any]] = {
    "bundled": {**PAIR},
    "bundled-unified": {"unified": {"count": 2}},
    "bundled-etcd": {**SPREAD, "metadata": {"server": "etcd://10.7.0.1:2379", "start": True, "node": "n1"}},
    "sglang": {**PAIR, "engine": "sglang"},
    "sglang-hostile": {**SPREAD, "engine": "sglang", "model": HOSTILE, "env": {"NOTE": HOSTILE}},
    "sglang-wide": {**WIDE, "engine": "sglang", "engine_version": "0.5.23"},
    "sglang-image": {
        **SPREAD,
        "engine": "sglang",
        "run": {"image": "lmsysorg/sglang:v0.5.23", "args": ["-v", "/m:/m"]},
    },
    "vllm": {**SPREAD, "engine": "vllm"},
    "vllm-v0": {
        **SPREAD,
        "engine": "vllm",
        "dialect": "vllm-v0",
        "nics": ["mlx5_0"],
        "metadata": {"server": "etcd://10.7.0.1:2379", "start": True},
    },
}


def made(fields: Mapping[str, Any]) -> tuple[Deployment, LaunchPlan]:
    wanted = parse_deployment({"model": "org/a-model", **fields})
    return wanted, plan(wanted, elsewhere(), None)


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    """Every case in every format, in folders."""
    root = tmp_path_factory.mktemp("exports")
    plans = {name: made(fields) for name, fields in CASES.items()}
    nasty = process("p", ("python3", *NASTY), env={f"X_{n}": word for n, word in enumerate(NASTY)}, cwd="/a 'b' %h")
    plans["nasty"] = (deployment(), plan_of(nasty))
    plans["by-hand"] = (deployment(engine="sglang"), two_nodes())
    folders: dict[tuple[str, str], Path] = {}
    for name, (wanted, whole) in plans.items():
        for form in FORMATS:
            folders[name, form] = folder = root / name / form
            write_folder(export_files(whole, wanted, form), folder)
    return folders


def texts(exports: Mapping[tuple[str, str], Path], form: str, pattern: str) -> list[Path]:
    found = [path for (_, made_as), folder in exports.items() if made_as == form for path in folder.rglob(pattern)]
    assert len(found) >= len(CASES)
    return sorted(found)


def judge(*argv: str | Path) -> None:
    done = subprocess.run(list(map(str, argv)), capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


SHELLCHECK = (Path(sys.executable).with_name("shellcheck"), "--severity=style")


@pytest.mark.parametrize("form", FORMATS)
def test_bash_and_shellcheck_find_nothing(exports: dict[tuple[str, str], Path], form: str, tmp_path: Path) -> None:
    scripts = texts(exports, form, "*.sh")
    for script in scripts:
        judge("bash", "-n", script)
    if form == "sh":
        # What follows the head is the same in all of them, and takes shellcheck seconds each time.
        heads = [tmp_path / f"{number}.sh" for number in range(len(scripts))]
        for head, script in zip(heads, scripts, strict=True):
            head.write_text(script.read_text("utf-8").partition("# The verbs.")[0], "utf-8")
        judge(*SHELLCHECK, "--exclude=SC2034", *heads)
        scripts = [exports["nasty", "sh"] / "pd.sh", exports["by-hand", "sh"] / "a.sh"]
    judge(*SHELLCHECK, *scripts)


def test_nft_takes_every_rule(exports: dict[tuple[str, str], Path]) -> None:
    program = shutil.which("nft")
    if program is None:
        pytest.skip("nft is not installed")
    files = texts(exports, "sh", "firewall.nft")
    done = subprocess.run([program, "-c", "list", "ruleset"], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"nft may not be used here: {done.stderr.strip()}")
    for file in files:
        judge(program, "-c", "-f", file)


def test_systemd_takes_every_unit(exports: dict[tuple[str, str], Path]) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed")
    folders = {path.parent for path in texts(exports, "systemd", "*.target")}
    for folder in sorted(folders):
        units = sorted(map(str, (*folder.glob("*.service"), *folder.glob("*.target"))))
        done = subprocess.run(
            [program, "verify", "--man=no", *units],
            capture_output=True,
            text=True,
            timeout=240,
            env={"SYSTEMD_LOG_LEVEL": "warning", "PATH": "/usr/bin:/bin:/usr/sbin:/sbin"},
        )
        # It also looks at units of the host that ours name, such as network-online.target.
        ours = [line for line in done.stderr.splitlines() if "pdpanel-" in line]
        assert (done.returncode, ours) == (0, []), done.stderr


def interpolated(text: str) -> str:
    """Does what Compose does before it reads a project: `$$` is `$`, and nothing but the cache's folder is replaced."""
    text = text.replace("${HF_HOME:-${HOME}/.cache/huggingface}", "/cache")
    assert not re.search(r"(?<!\$)(\$\$)*\$(?!\$)", text)
    return text.replace("$$", "$")


def test_compose_takes_every_project(exports: dict[tuple[str, str], Path]) -> None:
    for path in texts(exports, "compose", "compose.yaml"):
        text = interpolated(path.read_text("utf-8"))
        compose_spec.PyCompose.from_yaml(text)
        ComposeSpecification.model_validate(yaml.safe_load(text))


@pytest.mark.slow
def test_every_preset_passes(tmp_path: Path) -> None:
    scripts: list[Path] = []
    refused: set[tuple[str, str]] = set()
    for name in preset_names():
        wanted = parse_deployment(dict(load_preset(name)))
        whole = plan(wanted, elsewhere(), None)
        for form in FORMATS:
            try:
                files = export_files(whole, wanted, form)
            except ConfigError:
                # A job of MAD's scripts is Slurm's alone.
                refused.add((name, form))
                continue
            write_folder(files, tmp_path / name / form)
        for path in (tmp_path / name).rglob("compose.yaml"):
            compose_spec.PyCompose.from_yaml(interpolated(path.read_text("utf-8")))
        for path in (tmp_path / name).rglob("*.sh"):
            if path.name != "wait-for.sh":
                path.write_text(path.read_text("utf-8").partition("# The verbs.")[0], "utf-8")
                scripts.append(path)
    assert len(scripts) > 100
    assert refused == {("mad-deepseek-v3-slurm", form) for form in ("compose", "systemd")}
    judge(*SHELLCHECK, "--exclude=SC2034", *scripts)


def test_a_compose_project_with_a_mistake_is_refused() -> None:
    with pytest.raises(Exception, match="depends_on"):
        ComposeSpecification.model_validate(
            {"services": {"a": {"image": "x", "depends_on": {"b": {"condition": "service_happy"}}}}}
        )


def test_no_file_names_anything_twice_and_all_formats_say_what_to_do(exports: dict[tuple[str, str], Path]) -> None:
    for (_, form), folder in exports.items():
        readme = (folder / "README.md").read_text("utf-8")
        assert "\n## What to do\n\n1. " in readme
        assert form != "systemd" or "systemctl start --no-block pdpanel-pd.target" in readme


def test_json_files_are_written_as_planned(exports: dict[tuple[str, str], Path]) -> None:
    for form in FORMATS:
        paths = exports["vllm-v0", form].rglob("*.json")
        assert {re.sub(r"\s", "", json.dumps(json.loads(path.read_text()))) for path in paths}
