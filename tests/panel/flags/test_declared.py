"""Options are read from source text: SGLang's calls and fields, vLLM's classes, in a wheel and in a folder."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.flags.declared import Declared, declared_keys, declared_options
from pdpanel.panel.flags.extract import main, tables_of
from pdpanel.panel.flags.sources import Sources, read_sources
from pdpanel.panel.flags.table import Kind, Life, load_table, table_text

CALLS = """
class ServerArgs:
    @staticmethod
    def add_cli_args(parser):
        parser.add_argument("--model-path", "--model", type=str, required=True)
        parser.add_argument("--trust-remote-code", action="store_true")
        parser.add_argument("--cuda-graph-bs", type=int, nargs="+", help="Set the list.")
        parser.add_argument("--old", action=DeprecatedAction, help="Note: --old is deprecated. Use --new.")
        parser.add_argument("--older", action=DeprecatedAliasStoreAction, new_flag="--newer", type=int, nargs="+")
        parser.add_argument("--refused", action=DeprecatedAction, error_message="gone")
        parser.add_argument("--mode", nargs="?", const="x")
        parser.add_argument("--fuse", action=argparse.BooleanOptionalAction)
        parser.add_argument(f"--{prefix}policy", type=str)
        other.add("--nothing")
"""
FIELDS = """
class Disagg(msgspec.Struct):
    mode: A[Literal["null", "prefill"], "The mode."] = "null"
    ib_device: A[Optional[str], Arg(help="a" "b", aliases=["--ib"])] = None
    urls: A[List[str], "Some."] = field(default_factory=list)
    endpoints: A[Optional[List[str]], Arg(help="x", type_parser=json_list_type)] = None
    quiet: A[Optional[bool], "Deprecated. Use --silent instead."] = None
    hidden: A[bool, Arg(no_cli=True)] = False
    derived: A[int, Derived("x")] = 0
    named: A[int, Arg(cli_name="--called-so")] = 0
    plain: int = 0
"""
VLLM = """
class EngineArgs:
    enforce_eager: bool = False
    sizes: list[int] | None = None
    def add_cli_args(parser):
        group.add_argument("--enforce-eager", **kwargs["enforce_eager"])
        group.add_argument("--sizes", **kwargs["sizes"])
        group.add_argument("--tensor-parallel-size", "-tp", **kwargs["tp"])
"""
FRONTEND = "class FrontendArgs:\n    host: str | None = None\n    allow: bool = False\n"
CONFIG = "class KVTransferConfig:\n    kv_connector: str | None = None\n    kv_role: str | None = None\n"


def _read(engine: str, **files: str) -> dict[str, Declared]:
    sources = Sources(engine, "1.0", {name.replace("__", "/") + ".py": text for name, text in files.items()})
    return {option.names[0]: option for option in declared_options(sources)}


def test_calls_of_argparse() -> None:
    read = _read("sglang", srt__server_args=CALLS)
    assert read["--model-path"].names == ("--model-path", "--model")
    kinds = {name: option.kind for name, option in read.items()}
    assert kinds == {
        "--model-path": Kind.VALUE,
        "--trust-remote-code": Kind.SWITCH,
        "--cuda-graph-bs": Kind.LIST,
        "--old": Kind.SWITCH,
        "--older": Kind.LIST,
        "--mode": Kind.OPTIONAL,
        "--fuse": Kind.SWITCH,
        "--policy": Kind.VALUE,
    }
    assert read["--fuse"].names == ("--fuse", "--no-fuse")
    assert {name: option.instead for name, option in read.items() if option.deprecated} == {
        "--old": "--new",
        "--older": "--newer",
    }


def test_annotated_fields() -> None:
    read = _read("sglang", srt__arg_groups__fields__disagg=FIELDS)
    assert {name: option.kind for name, option in read.items()} == {
        "--mode": Kind.VALUE,
        "--ib-device": Kind.VALUE,
        "--urls": Kind.LIST,
        "--endpoints": Kind.VALUE,
        "--quiet": Kind.SWITCH,
        "--called-so": Kind.VALUE,
    }
    assert read["--ib-device"].names == ("--ib-device", "--ib")
    assert (read["--quiet"].deprecated, read["--quiet"].instead) == (True, "--silent")


def test_classes_of_vllm() -> None:
    read = _read("vllm", engine__arg_utils=VLLM, entrypoints__openai__cli_args=FRONTEND, config__kv_transfer=CONFIG)
    assert read["--enforce-eager"].names == ("--enforce-eager", "--no-enforce-eager")
    assert read["--sizes"].kind is Kind.LIST
    assert read["--tensor-parallel-size"].names == ("--tensor-parallel-size", "-tp")
    assert set(read) == {"--enforce-eager", "--sizes", "--tensor-parallel-size", "--host", "--allow"}
    keys = declared_keys(Sources("vllm", "1.0", {"config/kv_transfer.py": CONFIG}))
    assert [key.names for key in keys] == [("kv_connector",), ("kv_role",)]


def test_values_that_are_constants() -> None:
    source = """
FEW = ["a", "b"]
MORE = FEW + ["c"]
MADE = list(found)
parser.add_argument("--listed", choices=["x", 1])
parser.add_argument("--more", choices=MORE)
parser.add_argument("--made", choices=MADE)
parser.add_argument("--half", choices=["auto"] + MADE)
class Fields:
    mode: A[Literal["null", "prefill"], "The mode."] = "null"
    maybe: A[Optional[Literal["y"]], Arg(help="x")] = None
    named: A[str, Arg(choices=FEW)] = "a"
    free: A[str, "Any."] = ""
"""
    read = _read("sglang", srt__server_args=source)
    assert {name: option.choices for name, option in read.items()} == {
        "--listed": ("x", "1"),
        "--more": ("a", "b", "c"),
        "--made": (),
        "--half": (),
        "--mode": ("null", "prefill"),
        "--maybe": ("y",),
        "--named": ("a", "b"),
        "--free": (),
    }


def test_values_come_and_go_and_may_be_unknown_in_between(tmp_path: Path) -> None:
    texts = {"0.1": '["x", "y"]', "0.2": "made()", "0.3": '["y", "z"]'}
    wheels = [_wheel(tmp_path, version, f'p.add_argument("--a", choices={text})') for version, text in texts.items()]
    (table,) = tables_of([read_sources(wheel) for wheel in wheels])
    option = table.options["--a"]
    takes = {value: [option.takes(value, (0, number, 0)) for number in (1, 2, 3)] for value in "xyzq"}
    assert takes == {
        "x": [True, True, False],
        "y": [True, True, True],
        "z": [False, True, True],
        "q": [False, True, False],
    }
    assert option.values_at((0, 3, 0)) == ("y", "z")


def _wheel(folder: Path, version: str, text: str) -> Path:
    path = folder / f"sglang-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("sglang/srt/server_args.py", text)
        archive.writestr("sglang/srt/other.py", 'parser.add_argument("--elsewhere")')
    return path


def test_wheels_become_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wheels = [
        _wheel(tmp_path, "0.2", 'p.add_argument("--b")\np.add_argument("--a", help="Deprecated. Use --b instead.")'),
        _wheel(tmp_path, "0.10", 'p.add_argument("--b")'),
        _wheel(tmp_path, "0.1", 'p.add_argument("--a")'),
    ]
    (table,) = tables_of([read_sources(wheel) for wheel in wheels])
    assert table.versions == ("0.1", "0.2", "0.10")
    assert table.options["--a"].lives == (Life("0.1", "0.10"),)
    assert (table.options["--a"].deprecated, table.options["--a"].instead) == ("0.2", "--b")
    assert table.options["--b"].lives == (Life("0.2"),)
    assert main(list(map(str, wheels))) == 0
    assert capsys.readouterr().out == table_text(table)
    assert main(["-o", str(tmp_path), str(wheels[0])]) == 0
    assert '"--b"' in (tmp_path / "sglang.json").read_text()


def test_an_option_that_came_back_has_two_lives(tmp_path: Path) -> None:
    texts = {"0.1": '"--a"', "0.2": '"--b"', "0.3": '"--a"'}
    wheels = [_wheel(tmp_path, version, f"p.add_argument({text})") for version, text in texts.items()]
    (table,) = tables_of([read_sources(wheel) for wheel in wheels])
    option = table.options["--a"]
    assert option.lives == (Life("0.1", "0.2"), Life("0.3"))
    assert [option.exists((0, number, 0)) for number in (1, 2, 3)] == [True, False, True]


def test_a_folder_tells_its_version_by_the_distribution_beside_it(tmp_path: Path) -> None:
    package = tmp_path / "sglang" / "srt"
    package.mkdir(parents=True)
    (package / "server_args.py").write_text('p.add_argument("--a")')
    assert read_sources(tmp_path).version == ""
    (tmp_path / "sglang-0.5.9.post1.dist-info").mkdir()
    assert read_sources(tmp_path / "sglang").version == "0.5.9.post1"


@pytest.mark.parametrize("name", ["torch-2.0-py3-none-any.whl", "sglang-1.0-py3-none-any.whl", "nothing", "."])
def test_what_holds_no_engine_is_one_sentence(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    if name.startswith("torch"):
        _wheel(tmp_path, "1.0", "").rename(tmp_path / name)
    elif name.endswith("whl"):
        (tmp_path / name).write_bytes(b"no archive")
    with pytest.raises(ConfigError, match="engine"):
        read_sources(tmp_path / name)
    assert main([str(tmp_path / name)]) == 2
    assert "engine" in capsys.readouterr().err


@pytest.mark.parametrize("engine", ["sglang", "sglang-router", "vllm", "vllm-kv-transfer"])
def test_a_table_is_written_as_it_is_read(engine: str) -> None:
    table = load_table(engine)
    assert table is not None
    text = (Path(__file__).resolve().parents[3] / "panel" / "flags" / "tables" / f"{engine}.json").read_text("utf-8")
    assert table_text(table) == text
