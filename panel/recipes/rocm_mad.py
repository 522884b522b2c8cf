"""ROCm/MAD's SGLang on Slurm: build the image, submit the job, look at what came of it. Pure.

The scripts are ROCm's; `mad_layouts` has what differs between their generations and `mad_findings` what is to be said.
"""

from __future__ import annotations

import posixpath
import re
import shlex

from ...engine.errors import ConfigError
from .mad_findings import (
    RULES,
    build_findings,
    container_findings,
    layout_findings,
    mode_findings,
    model_findings,
    parser_findings,
    spare_node_findings,
)
from .mad_layouts import COLOCATED_ROUTER, DEDICATED_PROXY, LAYOUTS, REPOSITORY, Layout
from .recipe import Command, Kind, Parameter, Recipe, Rendered, TextRule
from .settings import Settings
from .slurm_nodes import NODE, expand_nodes
from .smoke_test import generate_request

__all__ = ["RECIPES", "RULES"]

_SCRIPTS = "MAD/scripts/sglang_disagg"
_SUBMITTED = "run_xPyD_models.slurm"
_TEMPERATURE = {"temperature": 0.3}

_IMAGE = TextRule(
    re.compile(r"(?!-)[A-Za-z0-9][A-Za-z0-9._:/@-]{0,250}"),
    "is not the name of an image",
    "write name, name:tag or registry/name:tag",
)
# The Slurm script puts the name unquoted into a line of shell.
_FOLDER = TextRule(
    re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}(/[A-Za-z0-9][A-Za-z0-9._-]{0,120})?"),
    "is not the name of a model's folder",
    "use letters, digits, dots, dashes and _, beginning with a letter or digit",
)
_NODE = TextRule(NODE, "is not the name of a node", "write node1,node2 or node[1-2]")
_JOB = TextRule(
    re.compile(r"[0-9]{1,12}(_[0-9]{1,9})?"), "is not a Slurm job id", "write the digits that sbatch printed"
)
_LOG_NAME = TextRule(
    re.compile(r"(?!\.{1,2}$)[^-/\s\x00-\x1f][^/\x00-\x1f]{0,250}"),
    "is not the name of a file in the job's folder",
    "write the name alone, such as benchmark_1234_20260101_000000_xP1_yD1_Qwen3-32B_CONCURRENCY.log",
)
_ARCHITECTURE = TextRule(re.compile(r"gfx[0-9a-f]{3,5}"), "is not a GPU architecture", "write gfx942 or the like")


def _layout(settings: Settings) -> Layout:
    return LAYOUTS[settings.text("layout")]


def _only_today(settings: Settings, layout: Layout, names: tuple[str, ...]) -> None:
    for name in names:
        if name in settings.given and layout is not COLOCATED_ROUTER:
            problem = f"is not known to the scripts of layout {layout.name}"
            raise ConfigError(
                name, settings.shown(name), problem, f"leave it out or set layout={COLOCATED_ROUTER.name}"
            )


def _build(settings: Settings) -> Rendered:
    layout = _layout(settings)
    _only_today(settings, layout, ("install_mori",))
    folder, prefix = layout.context
    dockerfile = settings.text("dockerfile")
    arguments = {"base_image": "BASE_DOCKER", "install_mori": "INSTALL_MORI", "gpu_arch": "GPU_ARCH"}
    argv = ["docker", "build", "-t", settings.text("image")]
    argv += ["-f", dockerfile if posixpath.dirname(dockerfile) else prefix + dockerfile]
    for name, argument in arguments.items():
        if settings.has(name):
            argv += ["--build-arg", f"{argument}={settings.shown(name)}"]
    base_image = settings.text("base_image") if settings.has("base_image") else None
    return Rendered(
        (Command("setup", ("git", "clone", REPOSITORY)), Command("setup", (*argv, "."), cwd=folder)),
        findings=tuple(build_findings(layout, base_image)),
    )


def _submit(settings: Settings) -> Rendered:
    layout = _layout(settings)
    _only_today(settings, layout, ("run_mori", "dp_mode", "use_cx7_nics", "model_dir", "skip_benchmark"))
    prefill, decode = settings.count("xP"), settings.count("yD")
    needed = prefill + decode + layout.spare_nodes
    named = expand_nodes("nodes", settings.items("nodes"))
    if len(named) < needed:
        kinds = f"{prefill} for prefill, {decode} for decode" + (", 1 for the proxy" if layout.spare_nodes else "")
        given = ",".join(settings.items("nodes"))
        raise ConfigError("nodes", given, f"names {len(named)}, but {needed} are needed ({kinds})", "name more nodes")
    nodes = named[:needed]
    model = settings.text("model_name")

    env = {
        "DOCKER_IMAGE_NAME": settings.text("image"),
        "xP": str(prefill),
        "yD": str(decode),
        "MODEL_NAME": model,
    }
    optional = {"log_path": "LOG_PATH", "model_dir": "MODEL_DIR", "skip_benchmark": "SKIP_BENCHMARK"}
    env |= {variable: settings.shown(name) for name, variable in optional.items() if settings.has(name)}
    if layout is COLOCATED_ROUTER:
        switches = {"run_mori": "RUN_MORI", "dp_mode": "DP_MODE", "use_cx7_nics": "USE_CX7_NICS"}
        env |= {variable: settings.shown(name) for name, variable in switches.items()}

    size = ("-N", str(needed), "-n", str(needed), f"--nodelist={','.join(nodes)}")
    submit = ("sbatch", *size, _SUBMITTED)
    if settings.text("submit") == "salloc":
        # salloc reads no #SBATCH lines, and runs the script where it was called.
        submit = ("salloc", *size, *layout.salloc, "bash", _SUBMITTED)
    commands = [Command("slurm-submit", submit, cwd=_SCRIPTS)]
    if layout.tests_on_submit:
        # srun counts ranks in the order of names, whatever the order of the list; the router is on rank 0.
        commands.append(_asked(layout, min(nodes)))
    findings = [
        *layout_findings(layout, f"nodes = xP + yD + 1 = {needed}", f"nodes = xP + yD = {prefill + decode}"),
        *model_findings(layout, model),
        *mode_findings(layout, model, dp_mode=settings.flag("dp_mode"), run_mori=settings.flag("run_mori")),
        *spare_node_findings(named[needed:], needed),
        *container_findings(layout),
    ]
    return Rendered(tuple(commands), env, findings=tuple(findings))


def _asked(layout: Layout, node: str) -> Command:
    return generate_request("127.0.0.1", layout.router_port, layout.prompt, _TEMPERATURE, node=node)


def _after(settings: Settings) -> Rendered:
    layout = _layout(settings)
    log = posixpath.join(settings.text("log_path"), settings.text("job_id"), settings.text("benchmark_log"))
    node = settings.text("router_node") if settings.has("router_node") else layout.router_node
    old, today = f"router port {layout.router_port}", f"router port {COLOCATED_ROUTER.router_port}"
    parse = Command("parse", ("python3", layout.parser, log))
    findings = (*layout_findings(layout, old, today), *parser_findings(layout, shlex.quote(log)))
    return Rendered((parse, _asked(layout, node)), findings=findings)


_LAYOUT = Parameter(
    "layout",
    Kind.CHOICE,
    DEDICATED_PROXY.name,
    "dedicated-proxy: the document's scripts, one more node for the proxy; colocated-router: today's",
    tuple(LAYOUTS),
)
_IMAGE_NAME = Parameter("image", Kind.TEXT, "sglang_disagg_pd_image", "the image's name", rule=_IMAGE)
_SOURCE = "ROCm's SGLang and Mooncake document; ROCm/MAD 0f6d812 and 06ae766"

RECIPES = (
    Recipe(
        "mad-docker-build",
        "ROCm/MAD: build the image",
        "Clones ROCm/MAD and builds its image with SGLang, Mooncake and the NICs' drivers. Needs git and docker.",
        (
            _IMAGE_NAME,
            Parameter(
                "dockerfile", Kind.PATH, "sglang_disagg_inference.ubuntu.amd.Dockerfile", "in MAD's folder docker"
            ),
            _LAYOUT,
            Parameter("base_image", Kind.TEXT, None, "instead of the Dockerfile's own (BASE_DOCKER)", rule=_IMAGE),
            Parameter("install_mori", Kind.FLAG, None, "0 leaves MoRI out, for Mooncake alone (INSTALL_MORI)"),
            Parameter("gpu_arch", Kind.TEXT, None, "instead of gfx942 (GPU_ARCH)", rule=_ARCHITECTURE),
        ),
        _SOURCE,
        _build,
    ),
    Recipe(
        "mad-submit",
        "ROCm/MAD: submit the Slurm job",
        "Starts prefill, decode and router in containers, runs the benchmark, and ends. Needs a clone of ROCm/MAD, the "
        "image on every node, and the model's folder on a shared file system.",
        (
            Parameter("xP", Kind.COUNT, "1", "prefill nodes"),
            Parameter("yD", Kind.COUNT, "1", "decode nodes"),
            Parameter("nodes", Kind.LIST, None, "xP + yD names, one more for a proxy", required=True, rule=_NODE),
            Parameter(
                "model_name", Kind.TEXT, None, "the model's folder, not its id on the Hub", required=True, rule=_FOLDER
            ),
            _IMAGE_NAME,
            _LAYOUT,
            Parameter("submit", Kind.CHOICE, "sbatch", "salloc runs the script from this shell", ("sbatch", "salloc")),
            Parameter("log_path", Kind.PATH, None, "where logs go; each job has its folder there"),
            Parameter("run_mori", Kind.FLAG, "0", "today's: 0 for Mooncake, 1 for MoRI IO"),
            Parameter("dp_mode", Kind.FLAG, "0", "today's: 1 for DP attention over all nodes of a role"),
            Parameter("use_cx7_nics", Kind.FLAG, "1", "today's: 1 for Mellanox CX-7, the document's NICs"),
            Parameter("model_dir", Kind.PATH, None, "today's: one more folder of models"),
            Parameter("skip_benchmark", Kind.FLAG, None, "today's: 1 serves without the benchmark"),
        ),
        _SOURCE,
        _submit,
    ),
    Recipe(
        "mad-post-run",
        "ROCm/MAD: read the results and ask for an answer",
        "Logs are in LOG_PATH/JOB: pd_sglang_bench_serving.sh_NODE<n>.log, prefill_NODE<n>.log, decode_NODE<n>.log, "
        "in old runs etcd_NODE<n>.log, and benchmark_*_CONCURRENCY.log. The test runs where the router runs.",
        (
            Parameter("log_path", Kind.PATH, None, "the job's LOG_PATH", required=True),
            Parameter("job_id", Kind.TEXT, None, "Slurm's number of the job", required=True, rule=_JOB),
            Parameter("benchmark_log", Kind.TEXT, None, "the log's name there", required=True, rule=_LOG_NAME),
            _LAYOUT,
            Parameter("router_node", Kind.HOST, None, "the router's host"),
        ),
        _SOURCE,
        _after,
    ),
)
