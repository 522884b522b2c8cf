"""Whether a deployment renders the commands that it was read from: what differs, option by option. Pure.

Options are compared by their engine's own names and without their order; numbers by their value.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..deployment import Deployment
from ..doctor.command import WrittenCommand, options_of, read_json, written_command
from ..doctor.shell import ShellCommand
from ..doctor.worker import WorkerRole, is_secret
from ..host_facts import elsewhere
from ..launch import LaunchPlan
from ..plan import plan
from .import_options import option_names

__all__ = ["Difference", "config_differences", "differences", "planned_commands", "rendered"]

_OWN = frozenset({"PYTHONUNBUFFERED", "OMP_NUM_THREADS", "PDPANEL_CACHE_DIR"})
_BESIDE = frozenset({WorkerRole.METADATA, WorkerRole.STORE})
_MOST_COMPARED = 32
Item = tuple[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Difference:
    """What one command says and the deployment's command for the same process does not, or the other way round.

    Attributes:
        written: the command as it was read; None for a process that only the deployment has.
        name: of the process.
        missing: options, and variables as `NAME=`, that the deployment does not write.
        added: those that it writes over what was read.
    """

    written: WrittenCommand | None
    name: str
    missing: tuple[Item, ...]
    added: tuple[Item, ...]

    @property
    def size(self) -> int:
        """How much differs; a whole process counts more than its options."""
        return len(self.missing) + len(self.added) + (100 if self.written is None else 0)


def rendered(deployment: Deployment) -> LaunchPlan:
    """Returns the deployment's plan for other hosts.

    Raises:
        ConfigError: a field does not fit.
        CapacityError: no port of a band is free.
    """
    return plan(deployment, elsewhere(), None)


def planned_commands(made: LaunchPlan) -> list[WrittenCommand]:
    """Returns the commands of a plan that are known programs."""
    found: list[WrittenCommand] = []
    for spec in made.processes:
        env = {name: value for name, value in spec.env.items() if name not in _OWN}
        found += written_command(ShellCommand(1, spec.argv, env), f"plan: {spec.name}", spec.node)[:1]
    return found


@dataclass(frozen=True, slots=True)
class _Counted:
    written: WrittenCommand
    items: Mapping[object, Item]

    @property
    def place(self) -> tuple[str, str]:
        return self.written.worker.node, self.written.worker.get("port")


def differences(commands: Sequence[WrittenCommand], made: Iterable[WrittenCommand]) -> list[Difference]:
    """Returns what differs between commands that were read and those that a plan has."""
    waiting: dict[WorkerRole, list[_Counted]] = {}
    for other in made:
        waiting.setdefault(other.worker.role, []).append(_Counted(other, _counted(_items(other))))
    found: list[Difference] = []
    for written in sorted(commands, key=lambda one: not one.worker.node):
        ours = _Counted(written, _counted(_items(written)))
        like = _nearest(ours, waiting.get(written.worker.role, []))
        name = written.worker.name
        if like is None:
            found.append(Difference(written, name, (*ours.items.values(), ("", ("the process",))), ()))
            continue
        waiting[written.worker.role].remove(like)
        missing = tuple(item for key, item in ours.items.items() if key not in like.items)
        added = tuple(item for key, item in like.items.items() if key not in ours.items)
        if missing or added:
            found.append(Difference(written, name, missing, added))
    found += [
        Difference(None, rest.written.worker.source.removeprefix("plan: "), (), tuple(rest.items.values()))
        for others in waiting.values()
        for rest in others
    ]
    return found


def config_differences(configs: Sequence[Mapping[str, object]], made: LaunchPlan) -> list[tuple[str, object]]:
    """Returns what configs say and no file of the plan does, by key; a key that is empty says nothing."""
    files = [value for file in made.files if (value := read_json(file.text)) is not None]
    files = [value for value in files if isinstance(value, dict)]
    found: list[tuple[str, object]] = []
    for config in configs:
        said = {key: value for key, value in config.items() if value not in (None, "", False)}
        like = max(files, key=lambda file: sum(file.get(key) == value for key, value in said.items()), default={})
        found += [(key, value) for key, value in said.items() if like.get(key) != value]
    return found


def _nearest(ours: _Counted, among: Sequence[_Counted]) -> _Counted | None:
    """Returns the command on the same host and port, else the one that has most in common with ours."""
    if ours.place[0]:
        for other in among:
            if other.place == ours.place:
                return other
    mine = ours.items.keys()
    return max(among[:_MOST_COMPARED], key=lambda other: len(mine & other.items.keys()), default=None)


def _counted(items: Iterable[Item]) -> Mapping[object, Item]:
    """Returns the items by what they are compared by; the same one twice counts twice."""
    counted: dict[object, Item] = {}
    seen: Counter[object] = Counter()
    for item in items:
        key: object = (item[0], tuple(_plain(value) for value in item[1]))
        counted[(key, seen[key])] = item
        seen[key] += 1
    return counted


def _plain(value: str) -> object:
    try:
        return float(value)
    except ValueError:
        config = read_json(value) if value.startswith("{") else None
        return repr(sorted(config.items(), key=str)) if isinstance(config, dict) else value


def _items(written: WrittenCommand) -> Iterable[Item]:
    worker = written.worker
    yield "program", (worker.program,)
    if worker.role in {WorkerRole.ROUTER, *_BESIDE}:
        words = written.command.words[written.first :]
        options, loose = options_of(words)
        pairs = [(option.name, option.values) for option in options] + [("", (words[place],)) for place in loose]
    else:
        pairs = list(option_names(written))
    for name, values in pairs:
        # A list of NICs may be written with spaces.
        shown = ("***",) if values and is_secret(name) else values
        yield name, tuple(part.strip() for value in shown for part in _parts(name, value))
    for name, value in worker.env.items():
        if name not in _OWN:
            yield f"{name}=", (value,)


def _parts(name: str, value: str) -> list[str]:
    listed = {"disaggregation-ib-device", "mooncake-ib-device"}
    return value.split(",") if name in listed and not value.startswith("{") else [value]
