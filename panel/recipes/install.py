"""The recipe `install`: engines, transfer libraries and routers by target and accelerator. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from ...engine.errors import ConfigError
from ...nic_probe import Evidence, Finding, Severity
from ...nic_probe.checks.check import Rule
from .install_targets import ACCELERATORS, SOURCES, WHEELS, SourceBuild, Step, Wheel
from .recipe import Command, Kind, Parameter, Recipe, Rendered, TextRule
from .settings import Settings

__all__ = ["RECIPES", "RULES"]

_TARGETS = (*WHEELS, *SOURCES)
_TARGET = re.compile(r"([a-z0-9-]{1,40})(?:==([0-9][0-9A-Za-z.+!-]{0,40}))?")
# The last vLLM whose Mooncake adaptor is not in the wheel, by Mooncake's vLLM V0 document.
_ADAPTOR_MISSING_UNTIL = (0, 8, 4)

_WHEEL = Rule(
    "install-mooncake-wheel",
    "Which of Mooncake's wheels is installed",
    "PyPI has one package of Mooncake per accelerator. mooncake-transfer-engine is the one for CUDA 12: on a host with "
    "CUDA 13 or without CUDA it does not import, for want of libcudart.so.12.",
    ("Mooncake's SGLang document", "PyPI: mooncake-transfer-engine and its variants"),
)
_PIN = Rule(
    "install-old-pin",
    "The source pins a version that has successors",
    "Documents keep the version that was current when they were written.",
    ("SGLang's PD document", "PyPI: memfabric-hybrid"),
)
_CUDA_UNKNOWN = Rule(
    "install-cuda-of-wheel",
    "One wheel's name stands for several CUDA versions",
    "vLLM and LMCache publish one package. Which CUDA it was built for changes with the version, so an accelerator "
    "cannot be chosen by name.",
    ("PyPI: vllm, lmcache",),
)
_PLACEHOLDER = Rule(
    "install-placeholder",
    "A path of the document was left as it stands",
    "SGLang's PD document writes /path/to/ucx for the folder of the UCX that is there already.",
    ("SGLang's PD document",),
)
_HINT = Rule(
    "install-source-build",
    "What a build from source needs beyond its commands",
    "Builds need system packages, compilers or keys that no command of the recipe brings.",
    ("Mooncake's build guide", "Mooncake's vLLM V0 document"),
)
_ADAPTOR = Rule(
    "install-vllm-adaptor",
    "vLLM 0.8.4 and older need Mooncake built from source",
    "These versions import mooncake_vllm_adaptor, which the wheel does not hold. Mooncake's documents now name the "
    "wheel 0.3.3.post2 as the last that does.",
    ("Mooncake's vLLM V0 document",),
)
RULES = (_WHEEL, _PIN, _CUDA_UNKNOWN, _PLACEHOLDER, _HINT, _ADAPTOR)

_UCX_PATH = "/path/to/ucx"
_ANY_TEXT = re.compile(r"[^\s]{1,100}")


def _render(settings: Settings) -> Rendered:
    accelerator = settings.text("accelerator") if settings.has("accelerator") else ""
    commands: list[Command] = []
    findings: list[Finding] = []
    versions: dict[str, str] = {}
    for text in settings.items("targets"):
        name, version = _target(text)
        if name in versions:
            raise ConfigError("targets", text, "is named twice", "name each target once")
        versions[name] = version
        if name in WHEELS:
            wheel = WHEELS[name]
            installer = settings.text("installer") if settings.has("installer") else wheel.installer
            steps = list(_wheel_steps(name, wheel, version, accelerator, installer))
            installed = next(step for step in steps if wheel.packages[accelerator] in step.argv[-1])
            findings += _wheel_findings(name, wheel, version, accelerator, shlex.join(installed.argv))
        else:
            steps = list(_source_steps(SOURCES[name], accelerator, settings.text("ucx_path")))
            findings += _source_findings(name, SOURCES[name], settings)
        commands += [Command("install", step.argv, cwd=step.cwd) for step in steps]
    findings += _adaptor_findings(versions)
    return Rendered(tuple(commands), findings=tuple(findings))


def _target(text: str) -> tuple[str, str]:
    match = _TARGET.fullmatch(text)
    if match is None or match[1] not in _TARGETS:
        raise ConfigError("targets", text, "is not a target", f"write some of {', '.join(_TARGETS)}")
    if match[2] is not None and match[1] in SOURCES:
        raise ConfigError("targets", text, "names a version of a build from source", f"write {match[1]} alone")
    return match[1], match[2] or ""


def _prefix(installer: str) -> tuple[str, ...]:
    return ("uv", "pip", "install") if installer == "uv" else (installer, "install")


def _wheel_steps(name: str, wheel: Wheel, version: str, accelerator: str, installer: str) -> Iterator[Step]:
    if accelerator not in wheel.packages:
        raise ConfigError("accelerator", accelerator, f"has no wheel of the target {name}", wheel.otherwise)
    if wheel.brings_uv:
        pip = "pip" if installer == "uv" else installer
        yield Step((pip, "install", "--upgrade", "pip"))
        if installer == "uv":
            yield Step((pip, "install", "uv"))
    pinned = version or wheel.version
    requirement = wheel.packages[accelerator] + (f"=={pinned}" if pinned else "")
    yield Step((*_prefix(installer), requirement))
    for arguments in wheel.more.get(accelerator, ()):
        yield Step((*_prefix(installer), "--force-reinstall", *arguments))


def _source_steps(build: SourceBuild, accelerator: str, ucx_path: str) -> Iterator[Step]:
    if build.replaces:
        packages = WHEELS[build.replaces].packages
        yield Step(("pip3", "uninstall", "-y", packages[accelerator]))
    yield Step(("git", "clone", build.repository))
    for step in build.steps:
        argv: list[str] = []
        for word in step.argv:
            if word == "{switches}":
                argv += build.switches.get(accelerator, ())
            else:
                argv.append(word.replace("{ucx_path}", ucx_path))
        yield Step(tuple(argv), step.cwd)


def _wheel_findings(name: str, wheel: Wheel, version: str, accelerator: str, command: str) -> Iterator[Finding]:
    for_cuda13 = wheel.packages.get("cuda13", wheel.packages[""])
    if not accelerator and for_cuda13 != wheel.packages[""]:
        others = ", ".join(f"{package} ({key})" for key, package in wheel.packages.items() if key)
        yield _WHEEL.finding(
            Severity.WARNING,
            name,
            (Evidence(wheel.source, command),),
            "This is the wheel for CUDA 12; on a host with CUDA 13, another accelerator or none it does not import.",
            f"Set accelerator to what the host has: {others}.",
            command.replace(wheel.packages[""], for_cuda13),
        )
    if wheel.newest and not version:
        yield _PIN.finding(
            Severity.INFO,
            name,
            (Evidence(wheel.source, command),),
            f"The document pins {wheel.version}; {wheel.newest} is on PyPI.",
            f"Unless the engine asks for {wheel.version}, set targets={name}=={wheel.newest}.",
            command.replace(f"=={wheel.version}", f"=={wheel.newest}"),
        )
    if not wheel.told_apart and accelerator in {"cuda12", "cuda13"}:
        yield _CUDA_UNKNOWN.finding(
            Severity.INFO,
            name,
            (Evidence(wheel.source, command),),
            f"The name {wheel.packages[accelerator]} does not say which CUDA it was built for.",
            "Compare python -c 'import torch; print(torch.version.cuda)' with the driver after the installation.",
        )


def _source_findings(name: str, build: SourceBuild, settings: Settings) -> Iterator[Finding]:
    uses_ucx = any("{ucx_path}" in word for step in build.steps for word in step.argv)
    if uses_ucx and "ucx_path" not in settings.given:
        yield _PLACEHOLDER.finding(
            Severity.WARNING,
            name,
            (Evidence(build.source, f"-Ducx_path={_UCX_PATH}"),),
            "The folder of UCX is the document's placeholder.",
            "Set ucx_path to the folder that holds UCX's include and lib, such as what `ucx_info -v` names.",
        )
    if build.hint:
        yield _HINT.finding(
            Severity.INFO, name, (Evidence(build.source, build.repository),), build.hint, "See to it beforehand."
        )


def _adaptor_findings(versions: dict[str, str]) -> Iterator[Finding]:
    vllm, match = versions.get("vllm", ""), None
    if vllm:
        match = re.match(r"(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?", vllm)
    if match is None or "mooncake" not in versions:
        return
    if tuple(int(part or 0) for part in match.groups()) <= _ADAPTOR_MISSING_UNTIL:
        yield _ADAPTOR.finding(
            Severity.ERROR,
            "mooncake",
            (Evidence("targets", f"vllm=={vllm} with a wheel of Mooncake"),),
            "This vLLM imports mooncake_vllm_adaptor, which Mooncake's wheel does not hold.",
            "Use the target mooncake-src instead of mooncake, or a newer vLLM.",
        )


RECIPES = (
    Recipe(
        "install",
        "Install engines, transfer libraries and routers",
        "The commands of the engines' own documents. A wheel may be pinned, as in mooncake==0.3.13.post1. Targets: "
        + "; ".join(f"{name}: {one.summary}" for name, one in (*WHEELS.items(), *SOURCES.items()))
        + ".",
        (
            Parameter(
                "targets",
                Kind.LIST,
                "mooncake",
                f"some of {', '.join(_TARGETS)}",
                rule=TextRule(_ANY_TEXT, "is not a target", f"write some of {', '.join(_TARGETS)}, without spaces"),
            ),
            Parameter(
                "accelerator",
                Kind.CHOICE,
                None,
                "what the host computes with; without it, what the documents write",
                ACCELERATORS,
            ),
            Parameter("installer", Kind.CHOICE, None, "instead of the documents' one", ("uv", "pip", "pip3")),
            Parameter("ucx_path", Kind.PATH, _UCX_PATH, "the folder of UCX, for nixl-src"),
        ),
        "SGLang's PD document; Mooncake's SGLang and vLLM V0 documents; PyPI",
        _render,
    ),
)
