"""Reads the YAML of a deployment file as plain values.

Knows nothing of fields. A file may come from anywhere, so what would grow without bound is refused, and what PyYAML
would change without a word is an error or stays text. `panel.deployment` calls it.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, ClassVar

import yaml

from ..engine.errors import ConfigError

__all__ = ["YAML_REMEDY", "DeploymentConstructor", "read_yaml"]

YAML_REMEDY = "write it like the output of `pdpanel up --dry-run`"
# A file of 1 MiB without aliases has fewer.
_MOST_VALUES = 1 << 20
_MOST_DIGITS = 64


class DeploymentConstructor(yaml.constructor.SafeConstructor):
    """How the values of a deployment file are made, whichever parser reads it.

    PyYAML keeps the last of two equal keys without a word, and reads 24:00:00 as a number to the base of 60. Python
    writes no whole number of more than 4300 digits.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Makes a mapping, unless a key is there twice."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} is there twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep=deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> Any:
        """Makes a whole number, or leaves a time as it is written."""
        return node.value if ":" in node.value else super().construct_yaml_int(_short(node))

    def construct_yaml_float(self, node: yaml.ScalarNode) -> Any:
        """Makes a number, or leaves a time as it is written."""
        return node.value if ":" in node.value else super().construct_yaml_float(_short(node))

    yaml_constructors: ClassVar = yaml.constructor.SafeConstructor.yaml_constructors | {
        "tag:yaml.org,2002:int": construct_yaml_int,
        "tag:yaml.org,2002:float": construct_yaml_float,
    }


def _short(node: yaml.ScalarNode) -> yaml.ScalarNode:
    if len(node.value) > _MOST_DIGITS:
        raise yaml.constructor.ConstructorError(None, None, "a number has too many digits", node.start_mark)
    return node


class _Loader(DeploymentConstructor, yaml.SafeLoader):
    """Reads a file by itself: its text may nest as deeply as Python can."""


def read_yaml(text: str, source: str) -> object:
    """Returns the one document in `text`, None for an empty one; `source` names it in errors.

    Raises:
        ConfigError: it is no YAML, has a key twice, or grows too much through its aliases.
    """
    loader = None
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is None:
            return None
        if _size(root, {}) > _MOST_VALUES:
            problem = f"grows to more than {_MOST_VALUES} values through its aliases (*name)"
            raise ConfigError("deployment", source, problem, "write the values themselves")
        return loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError("deployment", source, f"is not valid YAML{line}: {error.problem}", YAML_REMEDY) from None
    except RecursionError:
        raise ConfigError("deployment", source, "is nested too deeply", YAML_REMEDY) from None
    except (yaml.YAMLError, ValueError, TypeError) as error:
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise ConfigError("deployment", source, f"is not valid YAML: {first}", YAML_REMEDY) from None
    finally:
        if loader is not None:
            loader.dispose()


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """Returns how many values there are below `node` when each alias is replaced by what it stands for."""
    size = known.get(id(node))
    if size is not None:
        return size
    known[id(node)] = _MOST_VALUES + 1  # What holds itself has no end.
    size = 1
    if isinstance(node, yaml.SequenceNode):
        size += sum(_size(item, known) for item in node.value)
    elif isinstance(node, yaml.MappingNode):
        size += sum(_size(key, known) + _size(value, known) for key, value in node.value)
    known[id(node)] = size
    return size
