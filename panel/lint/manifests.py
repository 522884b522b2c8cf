"""The commands in a compose file or a Kubernetes manifest, with their variables, and the file with them put right.

Pure. Knows `services.*` of compose, and the containers of pods wherever a manifest has them (Deployments, LeaderWorker-
Sets, Jobs). Called by `lint` and `importing`.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import yaml

from ..doctor.command import WrittenCommand, written_command
from ..doctor.shell import ShellCommand, shell_commands
from .commands import rewritten, with_version
from .edit import Edit, apply_edits
from .kind import Kind, Pasted

__all__ = ["Container", "containers", "corrected_manifest", "manifest_commands"]

_MOST_CONTAINERS = 96
_MOST_NODES = 50_000
_DEEPEST = 24
_ENTRY_POINTS = (("vllm/vllm-openai", ("vllm", "serve")),)


@dataclass(frozen=True, slots=True)
class Container:
    """A container of a manifest.

    Attributes:
        name: of the service or container.
        words: what runs, entry point first.
        env: its variables.
        node: the host that it is bound to; empty when any.
        key: where the changing words are: `command` or `args`, or empty when both have some.
        path: from the document's root to the container.
        before: how many of the words are not written under `key`.
    """

    name: str
    words: tuple[str, ...]
    env: Mapping[str, str]
    node: str
    key: str
    path: tuple[int | str, ...]
    before: int = 0


def manifest_commands(pasted: Pasted, source: str) -> list[WrittenCommand]:
    """Returns what the containers of a manifest start, in order."""
    return [written for _, written in _with_containers(pasted, source)]


def _with_containers(pasted: Pasted, source: str) -> list[tuple[Container, WrittenCommand]]:
    found: list[tuple[Container, WrittenCommand]] = []
    for container in containers(pasted):
        command = ShellCommand(1, container.words, dict(container.env))
        place = f"{source}: {container.name}"
        for number, written in enumerate(written_command(command, place, container.node)):
            own = f"{place}.{number + 1}" if number else place
            worker = replace(written.worker, name=container.name, source=own)
            found.append((container, replace(written, worker=worker)))
    return found


def containers(pasted: Pasted) -> list[Container]:
    """Returns the containers of a compose file or a manifest that say what they run."""
    found: list[Container] = []
    for number, document in enumerate(pasted.value if isinstance(pasted.value, list) else []):
        if not isinstance(document, Mapping):
            continue
        if pasted.kind is Kind.COMPOSE:
            found += _services(document, number)
        else:
            found += _pods(document, number)
    return found[:_MOST_CONTAINERS]


def _services(document: Mapping[Any, Any], number: int) -> Iterator[Container]:
    services = document.get("services")
    for name, service in services.items() if isinstance(services, Mapping) else ():
        if not isinstance(service, Mapping):
            continue
        entry, command = _words(service.get("entrypoint")), _words(service.get("command"))
        image = service.get("image")
        start = [*_image_words(image, entry), *entry]
        key = "command" if command else "entrypoint"
        env = _env(service.get("environment"))
        # Each service has a network of its own, where the others reach it by its name.
        shared = service.get("network_mode") == "host"
        yield Container(
            name=str(name)[:80],
            words=tuple([*start, *command]),
            env=env,
            node="" if shared else str(name)[:80],
            key=key,
            path=(number, "services", str(name)),
            before=len(start) if command else len(start) - len(entry),
        )


def _pods(document: Mapping[Any, Any], number: int) -> Iterator[Container]:
    """Yields the containers of every pod template in a manifest."""
    metadata = document.get("metadata")
    owner = str(metadata.get("name", ""))[:80] if isinstance(metadata, Mapping) else ""
    stack: list[tuple[tuple[int | str, ...], Any]] = [((number,), document)]
    visited = 0
    while stack and visited < _MOST_NODES:
        path, value = stack.pop()
        visited += 1
        if len(path) > _DEEPEST:
            continue
        if isinstance(value, Mapping):
            listed = value.get("containers")
            for place, container in enumerate(listed if isinstance(listed, list) else ()):
                if isinstance(container, Mapping):
                    yield _container(container, (*path, "containers", place), value, owner)
            stack += [((*path, str(key)), inner) for key, inner in reversed(list(value.items())) if key != "containers"]
        elif isinstance(value, list):
            stack += [((*path, place), inner) for place, inner in reversed(list(enumerate(value)))]


def _container(
    container: Mapping[Any, Any], path: tuple[int | str, ...], pod: Mapping[Any, Any], owner: str
) -> Container:
    command, args = _words(container.get("command")), _words(container.get("args"))
    start = _image_words(container.get("image"), command)
    return Container(
        name="/".join(dict.fromkeys(filter(None, (owner, str(container.get("name", path[-1]))[:80])))),
        words=(*start, *command, *args),
        env=_env(container.get("env")),
        # A pod has an address of its own, unless it takes the host's.
        node="" if pod.get("hostNetwork") is True else owner,
        key="args" if args else "command",
        path=path,
        before=len(start) + (len(command) if args else 0),
    )


def _image_words(image: Any, entry: Sequence[str]) -> list[str]:
    """Returns the image, whose tag tells the version, and its own entry point where the file names none."""
    if not isinstance(image, str):
        return []
    name = image.partition("@")[0].rpartition(":")[0] or image
    own = next((words for known, words in _ENTRY_POINTS if name.endswith(known)), ())
    return [image[:200], *(own if not entry else ())]


def _words(value: Any) -> list[str]:
    if isinstance(value, str):
        # Compose splits a text as a shell does; `$$` is a dollar sign.
        commands = shell_commands(value)
        return list(commands[0].words) if len(commands) == 1 else ["sh", "-c", value] if commands else []
    if isinstance(value, list):
        return [str(one) for one in value[:4096] if isinstance(one, str | int | float)]
    return []


def _env(value: Any) -> dict[str, str]:
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items() if one is not None}
    env: dict[str, str] = {}
    for one in value if isinstance(value, list) else ():
        if isinstance(one, str) and "=" in one:
            name, _, text = one.partition("=")
            env[name] = text
        elif isinstance(one, Mapping) and isinstance(one.get("name"), str) and one.get("value") is not None:
            env[one["name"]] = _plain(one["value"])
    return env


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)[:4096]


def corrected_manifest(pasted: Pasted, source: str, engine_version: str) -> str:
    """Returns the file with its commands and variables put right; everything else stays as it was written."""
    pairs = _with_containers(pasted, source)
    commands = with_version([written for _, written in pairs], engine_version)
    edits: list[Edit] = []
    try:
        roots = list(yaml.compose_all(pasted.text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    except (yaml.YAMLError, ValueError, RecursionError):
        return pasted.text
    for (container, _), rewrite in zip(pairs, rewritten(commands), strict=True):
        node = _node_at(roots, container.path)
        if not rewrite.changed or not isinstance(node, yaml.MappingNode):
            continue
        if rewrite.changes and rewrite.written.inside is None:
            words = list(rewrite.result())[container.before :]
            value = _value_of(node, container.key)
            if value is not None and list(rewrite.words[: container.before]) == list(
                rewrite.result()[: container.before]
            ):
                edits.append(_words_edit(pasted.text, value, words))
        for name in rewrite.variables:
            edits += _variable_edit(pasted.text, node, name, rewrite.variables[name])
    return apply_edits(pasted.text, edits)


def _node_at(roots: Sequence[Any], path: Sequence[int | str]) -> Any:
    node = roots[path[0]] if isinstance(path[0], int) and path[0] < len(roots) else None
    for step in path[1:]:
        if isinstance(node, yaml.MappingNode):
            node = _value_of(node, str(step))
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
        else:
            return None
    return node


def _value_of(node: yaml.MappingNode, key: str) -> Any:
    return next((value for name, value in node.value if getattr(name, "value", None) == key), None)


def _words_edit(text: str, node: Any, words: Sequence[str]) -> Edit:
    start, end = node.start_mark.index, node.end_mark.index
    if isinstance(node, yaml.SequenceNode) and not node.flow_style:
        # A block list ends where the next key begins; its own lines are written anew in its own style.
        indent = " " * node.start_mark.column
        body = text[start:end]
        tail = body[len(body.rstrip()) :]
        lines = [f"- {json.dumps(word, ensure_ascii=False)}" for word in words]
        return Edit(start, end, f"\n{indent}".join(lines) + tail)
    if isinstance(node, yaml.SequenceNode):
        return Edit(start, end, json.dumps(list(words), ensure_ascii=False))
    body = text[start:end]
    tail = body[len(body.rstrip()) :]
    return Edit(start, end, json.dumps(shlex.join(words), ensure_ascii=False) + tail)


def _variable_edit(text: str, node: yaml.MappingNode, name: str, assignment: str | None) -> Iterator[Edit]:
    for key in ("environment", "env"):
        env = _value_of(node, key)
        if isinstance(env, yaml.MappingNode):
            for place, value in env.value:
                if getattr(place, "value", None) == name:
                    yield _entry_edit(text, place.start_mark.index, value.end_mark.index, assignment, ": ")
        elif isinstance(env, yaml.SequenceNode):
            for item in env.value:
                written = getattr(item, "value", None)
                if isinstance(written, str) and written.partition("=")[0] == name:
                    start = text.rfind("-", 0, item.start_mark.index)
                    if assignment is None:
                        yield _entry_edit(text, start, item.end_mark.index, None, "")
                    else:
                        yield Edit(item.start_mark.index, item.end_mark.index, json.dumps(assignment))
                elif isinstance(item, yaml.MappingNode) and getattr(_value_of(item, "name"), "value", None) == name:
                    start = text.rfind("-", 0, item.start_mark.index)
                    if assignment is None:
                        yield _entry_edit(text, start, item.end_mark.index, None, "")
                    else:
                        new, _, value = assignment.partition("=")
                        yield Edit(
                            item.start_mark.index,
                            item.end_mark.index,
                            f"{{name: {json.dumps(new)}, value: {json.dumps(value)}}}\n" + " " * 0,
                        )


def _entry_edit(text: str, start: int, end: int, assignment: str | None, joint: str) -> Edit:
    if assignment is not None:
        name, _, value = assignment.partition("=")
        return Edit(start, end, f"{name}{joint}{json.dumps(value)}")
    line_start = text.rfind("\n", 0, start) + 1
    end = start + len(text[start:end].rstrip())
    line_end = text.find("\n", end)
    line_end = len(text) if line_end < 0 else line_end + 1
    alone = not text[line_start:start].strip() and not re.sub(r"\s+#.*", "", text[end:line_end]).strip(" ,\n")
    return Edit(line_start, line_end, "") if alone else Edit(start, end, "")
