"""probe.pyz: one file that runs on any Python from 3.8 where nothing is installed."""

from __future__ import annotations

import ast
import glob
import io
import json
import os
import pty
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path

import pytest
from pdpanel.nic_probe.dump import standalone_source

OLDEST = (3, 8)


def pythons() -> list[str]:
    """Returns the interpreters of this machine that are new enough, one of each version, and this one."""
    places = ["/usr/bin/python3.*", "/usr/local/bin/python3.*", os.path.expanduser("~/.pyenv/versions/*/bin/python3.*")]
    found: dict[tuple[int, ...], str] = {sys.version_info[:2]: sys.executable}
    for path in sorted(path for place in places for path in glob.glob(place)):
        minor = path.rpartition("python3.")[2]
        if minor.isdecimal() and (3, int(minor)) >= OLDEST and os.access(path, os.X_OK):
            found.setdefault((3, int(minor)), path)
    return list(found.values())


def run(python: str, *arguments: str, folder: Path, **options: object) -> subprocess.CompletedProcess[bytes]:
    """Pipes the script through an interpreter that finds no package, in an empty folder."""
    command = [python, "-I", "-S", "-", *arguments]
    source = standalone_source().encode()
    environ = {"PATH": os.defpath, "HF_TOKEN": "s3cret", "https_proxy": "http://ada:s3cret@p:1"}
    return subprocess.run(command, input=source, cwd=folder, env=environ, capture_output=True, timeout=55, check=False)


def files_of(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
        return {m.name: file.read() for m in tar if (file := tar.extractfile(m) if m.isfile() else None)}


def test_the_script_is_of_the_oldest_python_and_of_one_piece() -> None:
    tree = ast.parse(standalone_source(), feature_version=OLDEST)
    imports = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
    modules = {name.name for node in imports if isinstance(node, ast.Import) for name in node.names}
    modules |= {node.module or "" for node in imports if isinstance(node, ast.ImportFrom)}
    assert all(not (isinstance(node, ast.ImportFrom) and node.level) for node in imports)
    assert {module.split(".")[0] for module in modules} <= sys.stdlib_module_names
    assert ast.get_docstring(tree)


def test_no_two_modules_of_it_give_a_name_twice() -> None:
    names: Counter[str] = Counter()
    for node in ast.parse(standalone_source()).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names[node.name] += 1
        elif isinstance(node, ast.Assign):
            names.update({n.id for target in node.targets for n in ast.walk(target) if isinstance(n, ast.Name)})
    assert names["write_dump"] == names["_ALLOWED"] == 1
    assert [name for name, times in names.items() if times > 1] == []


@pytest.mark.parametrize("python", pythons(), ids=lambda path: Path(path).name)
def test_piped_it_writes_the_archive_to_stdout_and_nothing_else(python: str, tmp_path: Path) -> None:
    done = run(python, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.decode().count("\n") == 1
    files = files_of(done.stdout)
    assert b"Max locked memory" in files["proc/self/limits"]
    facts = json.loads(files["pdpanel/facts.json"])
    assert facts["addresses"]["lo"] and facts["environ"] == {"https_proxy": "http://***@p:1"}
    assert [name for name, data in files.items() if b"s3cret" in data] == []
    assert list(tmp_path.iterdir()) == []


def test_a_file_named_gets_the_archive(tmp_path: Path) -> None:
    done = run(sys.executable, "node.tar.gz", folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, b"")
    assert done.stderr.decode().startswith("node.tar.gz: ")
    assert [path.name for path in tmp_path.iterdir()] == ["node.tar.gz"]
    assert "pdpanel/facts.json" in files_of((tmp_path / "node.tar.gz").read_bytes())


def test_on_a_terminal_it_writes_a_file_with_the_hosts_name(tmp_path: Path) -> None:
    script = tmp_path / "probe.pyz"
    script.write_text(standalone_source())
    (tmp_path / "empty").mkdir()
    ours, theirs = pty.openpty()
    with open(theirs, "wb") as terminal:
        command = [sys.executable, "-I", "-S", str(script)]
        done = subprocess.run(
            command, cwd=tmp_path / "empty", stdout=terminal, stderr=subprocess.PIPE, timeout=55, check=False
        )
    os.close(ours)
    assert done.returncode == 0, done.stderr
    (written,) = (tmp_path / "empty").iterdir()
    assert written.name.endswith("-pdpanel.tar.gz")
    assert f"{written.name}: ".encode() in done.stderr


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    done = run(sys.executable, "no/such/folder.tar.gz", folder=tmp_path)
    assert done.returncode == 2
    message = done.stderr.decode()
    assert message.count("\n") == 1 and "Traceback" not in message
    assert "FILE = 'no/such/folder.tar.gz' cannot be written: no such file or directory" in message


def test_a_reader_that_goes_away_is_one_sentence(tmp_path: Path) -> None:
    ends, begins = os.pipe()
    os.close(ends)
    with open(begins, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-"],
            input=standalone_source().encode(),
            cwd=tmp_path,
            env={},
            stdout=closed,
            stderr=subprocess.PIPE,
            timeout=55,
            check=False,
        )
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr and b"broken pipe" in done.stderr


def test_without_a_stdout_it_writes_a_file_with_the_hosts_name(tmp_path: Path) -> None:
    """As below a service manager or `>&-`, where Python has no sys.stdout at all."""
    script = tmp_path / "probe.pyz"
    script.write_text(standalone_source(), "utf-8")
    (tmp_path / "in").mkdir()
    command = ["sh", "-c", '"$0" "$1" >&-', sys.executable, str(script)]
    done = subprocess.run(command, cwd=tmp_path / "in", stderr=subprocess.PIPE, text=True, check=False, timeout=50)
    (written,) = (tmp_path / "in").iterdir()
    assert done.returncode == 0
    assert done.stderr.startswith(f"{written.name}: ")


def test_help_says_what_it_does(tmp_path: Path) -> None:
    done = run(sys.executable, "--help", folder=tmp_path)
    assert done.returncode == 0
    assert b"FILE" in done.stdout and b"no secrets" in done.stdout
