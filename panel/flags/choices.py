"""The values that an option's declaration allows, as far as its source has them as constants. Called by `declared`."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from typing import TypeAlias

__all__ = ["Lists", "constant_lists", "values_of"]

Lists: TypeAlias = Mapping[str, tuple[str, ...]]


def constant_lists(trees: Iterable[ast.Module]) -> Lists:
    """Returns the module-level lists of constants by name; one that is made otherwise is left out."""
    found: dict[str, tuple[str, ...]] = {}
    for tree in trees:
        for node in tree.body:
            if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
                if values := values_of(node.value, found):
                    found[node.targets[0].id] = values
    return found


def values_of(node: ast.expr | None, lists: Lists) -> tuple[str, ...]:
    """Returns the values of `choices=`, of a Literal or of an optional one; nothing where one cannot be read.

    Args:
        node: an expression or a type.
        lists: what names stand for.
    """
    if isinstance(node, ast.Name):
        return lists.get(node.id, ())
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        return _constants(node.elts)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = values_of(node.left, lists), values_of(node.right, lists)
        return (*left, *right) if left and right else ()
    if isinstance(node, ast.Subscript):
        inner = node.slice
        if ast.unparse(node.value) in {"Optional", "List", "list"}:
            return values_of(inner, lists) if isinstance(inner, ast.Subscript) else ()
        if ast.unparse(node.value) == "Literal":
            return _constants(inner.elts if isinstance(inner, ast.Tuple) else [inner])
    return ()


def _constants(nodes: Iterable[ast.expr]) -> tuple[str, ...]:
    values = [str(node.value) for node in nodes if isinstance(node, ast.Constant)]
    return tuple(values) if len(values) == len(list(nodes)) else ()
