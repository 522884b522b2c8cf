"""What is to be said about ROCm/MAD's recipes: what its scripts refuse, and what differs from today's. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ...nic_probe import Evidence, Finding, Severity
from ...nic_probe.checks.check import Rule
from .mad_layouts import COLOCATED_ROUTER, DEDICATED_PROXY, Layout

__all__ = [
    "RULES",
    "build_findings",
    "container_findings",
    "layout_findings",
    "mode_findings",
    "model_findings",
    "parser_findings",
    "spare_node_findings",
]

_SOURCE = ("ROCm's SGLang and Mooncake document", "ROCm/MAD: scripts/sglang_disagg")
_LAYOUT = Rule(
    "mad-layout",
    "The scripts of ROCm/MAD changed their layout",
    "Up to 2025 the proxy had a node of its own: nodes = xP + yD + 1, and the smoke test asked port 30000. Today the "
    "router shares the node of the first prefill worker: nodes = xP + yD, and it listens on 2322. A fresh clone has "
    "today's scripts in scripts/sglang_disagg; the old ones lay in scripts/sglang_dissag.",
    _SOURCE,
)
_BASE_IMAGE = Rule(
    "mad-base-image",
    "The image that ROCm/MAD's Dockerfile starts from changed",
    "The document names lmsysorg/sglang:v0.5.2rc1-rocm700-mi30x and links another tag, v0.4.9.post1-rocm630. A fresh "
    "clone starts from a newer SGLang, whose flags differ, and its README builds from the repository's root.",
    _SOURCE,
)
_MODEL_NAME = Rule(
    "mad-model-name",
    "MODEL_NAME is the name of a folder, not of a repository on the Hub",
    "The Slurm script compares MODEL_NAME with its list and looks for a folder of that name on every node, below "
    "/mnt/m2m_nobackup/models_blog and the shared file system. Anything else ends the job.",
    _SOURCE,
)
_MODE = Rule(
    "mad-dp-mode",
    "DP_MODE=1 works for few models, and with MoRI alone",
    "The Slurm script and the launcher accept DP_MODE=1 for DeepSeek-V3 and DeepSeek-R1. Its flags ask for MoRI's "
    "all-to-all, which the README has with RUN_MORI=1 only.",
    _SOURCE,
)
_SPARE = Rule(
    "mad-spare-nodes",
    "More nodes are named than the job uses",
    "The script takes as many nodes as it needs from the beginning of the list; sbatch with a longer list drops some.",
    _SOURCE,
)
_CONTAINERS = Rule(
    "mad-stops-containers",
    "The Slurm script stops every running container",
    "On each of its nodes it begins with docker ps -q | xargs docker stop, whoever started the containers.",
    _SOURCE,
)
_PARSER = Rule(
    "mad-parser",
    "benchmark_parser.py is no longer in ROCm/MAD",
    "Its README still names it. parse_to_csv.py took its place and keeps the best throughput of each point.",
    _SOURCE,
)
RULES = (_LAYOUT, _BASE_IMAGE, _MODEL_NAME, _MODE, _SPARE, _CONTAINERS, _PARSER)


def layout_findings(layout: Layout, what: str, today: str) -> Iterator[Finding]:
    """Says for the old layout what today's has in place of `what`."""
    if layout is DEDICATED_PROXY:
        yield _LAYOUT.finding(
            Severity.WARNING,
            "layout",
            (Evidence(layout.source, what), Evidence(COLOCATED_ROUTER.source, today)),
            "A fresh clone of ROCm/MAD has today's scripts, for which this is wrong.",
            f"Set layout={COLOCATED_ROUTER.name}, or keep the old scripts with git checkout 0f6d812.",
            COLOCATED_ROUTER.name,
        )


def build_findings(layout: Layout, base_image: str | None) -> Iterator[Finding]:
    """Says for the old layout that a fresh clone builds from another image, unless one was chosen."""
    if layout is DEDICATED_PROXY and base_image is None:
        yield _BASE_IMAGE.finding(
            Severity.WARNING,
            "base_image",
            (Evidence(layout.source, layout.base_image), Evidence("ROCm/MAD's README", COLOCATED_ROUTER.base_image)),
            "The document's base image is not the one that a fresh clone starts from.",
            f"Set base_image={layout.base_image} for the document's, or layout={COLOCATED_ROUTER.name} for today's.",
            COLOCATED_ROUTER.base_image,
        )


def model_findings(layout: Layout, model: str) -> Iterator[Finding]:
    """Says that a name is a Hub id, or is none that the Slurm script accepts."""
    owner, slash, folder = model.rpartition("/")
    evidence = (Evidence(layout.source, "accepts " + ", ".join(sorted(layout.models))),)
    if slash:
        joined = f"{owner}-{folder}"
        corrected = joined if joined in layout.models else folder
        yield _MODEL_NAME.finding(
            Severity.ERROR,
            "model_name",
            (Evidence("model_name", model), *evidence),
            "This is the id of a repository; the script looks for a folder and refuses it.",
            f"Set model_name={corrected}.",
            corrected,
        )
    elif model not in layout.models:
        yield _MODEL_NAME.finding(
            Severity.WARNING,
            "model_name",
            (Evidence("model_name", model), *evidence),
            f"The Slurm script of {layout.source.partition(';')[0]} ends the job for this name.",
            "Use one that it accepts, or add the name to VALID_MODELS and to models.yaml.",
        )


def mode_findings(layout: Layout, model: str, *, dp_mode: bool, run_mori: bool) -> Iterator[Finding]:
    """Says that the scripts refuse DP_MODE=1 for this model or backend."""
    if not dp_mode:
        return
    if model not in layout.dp_models:
        yield _MODE.finding(
            Severity.ERROR,
            "dp_mode",
            (Evidence(layout.source, "DP_MODE=1 for " + ", ".join(sorted(layout.dp_models))),),
            f"The job ends at once: {model} is not in the list for DP_MODE=1.",
            "Set dp_mode=0.",
            "0",
        )
    elif not run_mori:
        yield _MODE.finding(
            Severity.ERROR,
            "run_mori",
            (Evidence("ROCm/MAD's README", "DP_MODE=1 currently requires RUN_MORI=1"),),
            "DP_MODE=1 does not work over Mooncake.",
            "Set run_mori=1 or dp_mode=0.",
            "1",
        )


def spare_node_findings(spare: tuple[str, ...], needed: int) -> Iterator[Finding]:
    """Says which nodes of the list the job leaves out."""
    if spare:
        yield _SPARE.finding(
            Severity.INFO,
            "nodes",
            (Evidence("nodes", f"{needed} needed, {needed + len(spare)} named"),),
            f"The job has no use for {', '.join(spare[:8])}{' and more' if len(spare) > 8 else ''}.",
            "Name fewer nodes, or more workers.",
        )


def container_findings(layout: Layout) -> Iterator[Finding]:
    """Says what the job does to containers of others."""
    yield _CONTAINERS.finding(
        Severity.WARNING,
        "nodes",
        (Evidence(layout.source, "docker ps -q | xargs --no-run-if-empty docker stop"),),
        "Every container that runs on these nodes is stopped when the job begins.",
        "Submit to nodes that nobody shares.",
    )


def parser_findings(layout: Layout, log: str) -> Iterator[Finding]:
    """Says for the old layout what reads the log today."""
    if layout is DEDICATED_PROXY:
        yield _PARSER.finding(
            Severity.WARNING,
            "layout",
            (Evidence("ROCm/MAD, scripts/sglang_disagg", f"{COLOCATED_ROUTER.parser}, no {layout.parser}"),),
            f"A fresh clone has no {layout.parser}.",
            "Use pdpanel parse-log, which reads the logs of both generations.",
            f"python3 {COLOCATED_ROUTER.parser} {log}",
        )
