"""The command within a container, from the `docker run` that a plan has where a person named an image. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..launch import ProcessSpec

__all__ = ["InnerCommand", "inner_command"]

_RUNTIMES = ("docker", "podman")


@dataclass(frozen=True, slots=True)
class InnerCommand:
    """What runs in the container; `mounts` are folders of the host and where they appear."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[tuple[str, str], ...] = ()
    cwd: str = ""


def inner_command(spec: ProcessSpec, image: str) -> InnerCommand:
    """Returns the command of `spec` without the container around it; as it is when there is none."""
    argv = spec.argv
    if argv[0].rsplit("/", 1)[-1] not in _RUNTIMES or argv[1:2] != ("run",) or image not in argv:
        return InnerCommand(argv)
    at = argv.index(image)
    env: dict[str, str] = {}
    mounts: list[tuple[str, str]] = []
    cwd = entrypoint = ""
    for name, value in _options(argv[2:at]):
        if name in {"-e", "--env"} and "=" in value:
            key, _, text = value.partition("=")
            env[key] = text
        elif name in {"-v", "--volume"} and ":" in value:
            source, target = value.split(":")[:2]
            mounts.append((source, target))
        elif name in {"-w", "--workdir"}:
            cwd = value
        elif name == "--entrypoint":
            entrypoint = value
    return InnerCommand(((entrypoint,) if entrypoint else ()) + argv[at + 1 :], env, tuple(mounts), cwd)


def _options(words: tuple[str, ...]) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for index, word in enumerate(words):
        name, equals, value = word.partition("=")
        if word.startswith("--") and equals:
            pairs.append((name, value))
        elif word.startswith("-") and index + 1 < len(words):
            pairs.append((word, words[index + 1]))
    return pairs
