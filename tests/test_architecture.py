"""The rules of the house that no tool checks: who imports whom, who reads the environment, what is packaged."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("engine", "nic_probe", "panel", "presets")
ARROWS = {("panel", "engine"), ("panel", "nic_probe"), ("panel", "presets")}
MOST_LINES = 400

# Files that name os.environ, and why each may.
ENVIRONMENT = {
    "engine/config.py": "the engine's settings",
    "panel/config.py": "the panel's settings, and what its processes inherit",
    "panel/dialects/programs/proxy_server.py": "a program of its own, which plans carry to other hosts",
}

# Modules whose start-up time and memory are budgeted, and what they must not bring.
LEAN = ("pdpanel.panel.cli", "pdpanel.panel.runner.__main__", "pdpanel.engine.launch_router")
HEAVY = {"torch", "gradio", "fastapi", "transformers", "pandas", "mooncake"}

# The pure core: events in, actions out.
PURE = (
    "engine/actions.py",
    "engine/decode_core.py",
    "engine/lifecycle.py",
    "engine/pages.py",
    "engine/parallel/bounce.py",
    "engine/prefill_core.py",
    "engine/schedule.py",
    "engine/sequence.py",
    "engine/transfer/heads.py",
    "engine/transfer/plan.py",
    "engine/unified_core.py",
    "panel/launch.py",
    "panel/plan.py",
)
IMPURE = {"aiohttp", "asyncio", "multiprocessing", "os", "random", "socket", "subprocess", "threading", "time", "torch"}


def sources() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


def imports(path: Path, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yields line and absolute name of everything that a file imports, at any depth; ours begin with `pdpanel.`."""
    package = ["pdpanel", *path.relative_to(ROOT).parent.parts]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*start, *([node.module] if node.module else [])])
            for alias in node.names:
                yield node.lineno, f"{module}.{alias.name}"


def package_of(name: str) -> str | None:
    """Returns the package of ours that an absolute name lies in."""
    parts = name.split(".")
    if parts[0] == "pdpanel":
        return parts[1] if len(parts) > 1 else "pdpanel"
    return parts[0] if parts[0] in PACKAGES else None


def forbidden_arrows(path: Path, tree: ast.Module) -> list[str]:
    own = path.relative_to(ROOT).parts[0]
    return [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for line, name in imports(path, tree)
        if (package := package_of(name)) is not None and package != own and (own, package) not in ARROWS
    ]


def environment_reads(tree: ast.Module) -> list[int]:
    """Returns the lines that name the process's environment, other than to set one variable."""
    names = {"environ", "environb", "getenv", "getenvb"}
    stores = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store)
    }
    lines: list[int] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in names and id(node) not in stores:
            if isinstance(node.value, ast.Name) and node.value.id == "os":
                lines.append(node.lineno)
        elif isinstance(node, ast.ImportFrom) and node.module == "os":
            lines += [node.lineno for alias in node.names if alias.name in names]
    return lines


def test_panel_is_the_only_package_that_uses_the_others() -> None:
    assert [wrong for path in sources() for wrong in forbidden_arrows(path, tree_of(path))] == []


@pytest.mark.parametrize(
    "text",
    [
        "from ..panel import plan",
        "def f():\n    from ..panel.plan import plan",
        "from .. import nic_probe",
        "import pdpanel.presets",
        "from pdpanel import nic_probe",
        "import panel",
        "from presets import load_preset",
    ],
)
def test_a_wrong_arrow_is_seen_in_every_spelling(text: str) -> None:
    assert len(forbidden_arrows(ROOT / "engine" / "x.py", ast.parse(text))) == 1


@pytest.mark.parametrize(
    "text", ["from . import pages", "from .transfer.api import Link", "import json", "import engineering"]
)
def test_an_import_within_the_package_is_no_arrow(text: str) -> None:
    assert forbidden_arrows(ROOT / "engine" / "x.py", ast.parse(text)) == []


@pytest.mark.parametrize("name", PACKAGES)
def test_other_packages_are_reached_relatively(name: str) -> None:
    """Editors and pyright follow relative imports without an install."""
    absolute = [
        f"{path.relative_to(ROOT)}:{line} imports {imported}"
        for path in sources()
        if path.relative_to(ROOT).parts[0] == name
        for node in ast.walk(tree_of(path))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for line, imported in [(node.lineno, _written(node))]
        if imported.split(".")[0] == "pdpanel"
    ]
    assert absolute == []


def _written(node: ast.Import | ast.ImportFrom) -> str:
    if isinstance(node, ast.Import):
        return node.names[0].name
    return "." * node.level + (node.module or "")


def test_only_the_config_modules_read_the_environment() -> None:
    found = {str(path.relative_to(ROOT)): lines for path in sources() if (lines := environment_reads(tree_of(path)))}
    assert set(found) <= set(ENVIRONMENT), found
    assert set(ENVIRONMENT) <= set(found), "an entry that is no longer needed"


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        ("import os\nos.environ['A']", 1),
        ("import os\nx = dict(os.environ)", 1),
        ("import os\nos.getenv('A')", 1),
        ("from os import environ", 1),
        ("import os\nos.environ['A'] = '1'", 0),
        ("def f(environ): return environ['A']", 0),
    ],
)
def test_a_read_of_the_environment_is_seen(text: str, reads: int) -> None:
    assert len(environment_reads(ast.parse(text))) == reads


@pytest.mark.parametrize("name", PURE)
def test_the_pure_core_imports_nothing_impure(name: str) -> None:
    path = ROOT / name
    assert {imported.split(".")[0] for _, imported in imports(path, tree_of(path))} & IMPURE == set()


def test_the_packages_of_pyproject_are_those_of_the_tree() -> None:
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    in_tree = {
        ".".join(["pdpanel", *path.parent.relative_to(ROOT).parts])
        for package in PACKAGES
        for path in (ROOT / package).rglob("__init__.py")
    }
    assert set(setuptools["packages"]) == in_tree
    assert len(setuptools["packages"]) == len(in_tree)
    assert setuptools["package-dir"] == {f"pdpanel.{package}": package for package in PACKAGES}
    folders = {path.parent for path in sources()}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").exists()] == []
    assert not (ROOT / "pdpanel").exists(), "pdpanel is a namespace package"


def test_no_file_is_longer_than_400_lines() -> None:
    folders = [ROOT / name for name in (*PACKAGES, "tests")]
    files = [path for folder in folders for path in folder.rglob("*") if path.suffix in {".py", ".js", ".css", ".html"}]
    files += ROOT.glob("*.py")
    vendored = {"uPlot.iife.min.js", "uPlot.min.css"}
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines())
        for path in files
        if path.name not in vendored
    }
    assert len(lengths) > 20
    assert {name: length for name, length in lengths.items() if length > MOST_LINES} == {}


@pytest.mark.parametrize("module", LEAN)
def test_what_has_to_start_fast_imports_nothing_heavy(module: str) -> None:
    code = f"import json, sys, {module}; print(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)) & HEAVY == set()
