"""The command within a container, from the `docker run` that a plan has where a person named an image. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..launch import ProcessSpec

__all__ = ["InnerCommand", "container_removal", "inner_command"]

_RUNTIMES = ("docker", "podman")
_LISTS = {
    "--device": "devices",
    "--cap-add": "cap_add",
    "--security-opt": "security_opt",
    "--group-add": "group_add",
}


@dataclass(frozen=True, slots=True)
class InnerCommand:
    """What runs in the container.

    Attributes:
        env: variables that it is given.
        mounts: folders of the host and where they appear.
        lists: further options by Compose's name for them, such as devices and cap_add.
        privileged: True for a container that may do what the host may.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[tuple[str, str], ...] = ()
    lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    privileged: bool = False


def inner_command(spec: ProcessSpec, image: str) -> InnerCommand:
    """Returns the command of `spec` without the container around it; as it is when there is none."""
    argv = spec.argv
    if not _is_container(spec) or image not in argv:
        return InnerCommand(argv)
    at = argv.index(image)
    env: dict[str, str] = {}
    mounts: list[tuple[str, str]] = []
    lists: dict[str, tuple[str, ...]] = {}
    for name, value in _options(argv[2:at]):
        if name in {"-e", "--env"} and "=" in value:
            key, _, text = value.partition("=")
            env[key] = text
        elif name in {"-v", "--volume"} and ":" in value:
            source, target = value.split(":")[:2]
            mounts.append((source, target))
        elif name in _LISTS:
            lists[_LISTS[name]] = (*lists.get(_LISTS[name], ()), value)
    return InnerCommand(argv[at + 1 :], env, tuple(mounts), lists, "--privileged" in argv[2:at])


def container_removal(spec: ProcessSpec) -> tuple[str, ...]:
    """Returns the command that removes the container of `spec`; empty when it has none, or one without a name."""
    if not _is_container(spec):
        return ()
    name = next((value for option, value in _options(spec.argv[2:]) if option == "--name"), "")
    return (spec.argv[0], "rm", "--force", name) if name else ()


def _is_container(spec: ProcessSpec) -> bool:
    return spec.argv[0].rsplit("/", 1)[-1] in _RUNTIMES and spec.argv[1:2] == ("run",)


def _options(words: tuple[str, ...]) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for index, word in enumerate(words):
        name, equals, value = word.partition("=")
        if word.startswith("--") and equals:
            pairs.append((name, value))
        elif word.startswith("-") and index + 1 < len(words):
            pairs.append((word, words[index + 1]))
    return pairs
