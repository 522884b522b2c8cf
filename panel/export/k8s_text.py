"""Text in a pod's command and variables: what Kubernetes expands there, and what it must leave alone. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...engine.errors import ConfigError

__all__ = ["Marks", "literal", "member_texts"]

_INDEX = "$(LWS_WORKER_INDEX)"
Marks = Mapping[str, tuple[str, str]]
"""What stands for each mark: where a text is the mark alone, and where it is a part of a text."""


def literal(text: str) -> str:
    """Returns `text` so that it arrives as it is: Kubernetes takes $(NAME) for a variable and $$ for one $."""
    return text.replace("$", "$$")


def member_texts(lists: Sequence[Sequence[str]], marks: Sequence[Marks], field: str) -> list[str]:
    """Returns the one list of texts that stands for those of all pods of a template.

    Args:
        lists: the texts of each pod, at the same places; several are those of ranks 1, 2 and so on.
        marks: those of each pod.
        field: what an error names.

    Raises:
        ConfigError: the pods differ by more than their addresses and ranks.
    """
    resolved = [[_resolved(text, own) for text in texts] for texts, own in zip(lists, marks, strict=True)]
    if len({len(texts) for texts in resolved}) > 1:
        raise _differs(field, f"{len(resolved[0])} arguments")
    return [_common(texts, field) for texts in zip(*resolved, strict=True)]


def _resolved(text: str, marks: Marks) -> str:
    if text in marks:
        return marks[text][0]
    escaped = literal(text)
    for mark, (_, within) in marks.items():
        escaped = escaped.replace(mark, within)
    return escaped


def _common(texts: Sequence[str], field: str) -> str:
    if len(set(texts)) == 1:
        return texts[0]
    # The ranks are where the texts of ranks 1 and 2 differ, which is in one digit.
    before = next((at for at, pair in enumerate(zip(texts[0], texts[1], strict=False)) if len(set(pair)) > 1), 0)
    head, tail = texts[0][:before], texts[0][before + 1 :]
    if any(text != f"{head}{rank}{tail}" for rank, text in enumerate(texts, 1)):
        raise _differs(field, texts[0])
    return f"{head}{_INDEX}{tail}"


def _differs(field: str, value: str) -> ConfigError:
    problem = "differs between the nodes of a worker by more than its rank, and in Kubernetes they have one template"
    return ConfigError(field, value, problem, "export it as sh or slurm, or give all of its nodes the same")
