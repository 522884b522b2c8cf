"""Text in a pod's command and variables: what Kubernetes expands there, and what it must leave alone. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from ...engine.errors import ConfigError

__all__ = ["Marks", "literal", "mark", "member_texts", "with_addresses"]

_INDEX = "$(LWS_WORKER_INDEX)"
_MARK = re.compile(r"pdpanel-k8s-([a-z]+-[0-9]+)-([0-9]+)-address")
Marks = Callable[[str, int, bool], str]
"""Says what stands for the address of a pod: by its worker's name, such as prefill-0, its rank in it, and whether a
text is that address alone or holds it among others."""


def literal(text: str) -> str:
    """Returns `text` so that it arrives as it is: Kubernetes takes $(NAME) for a variable and $$ for one $."""
    return text.replace("$", "$$")


def mark(worker: str, rank: int) -> str:
    """Returns what stands in a plan for the address of a pod, by its worker's name and its rank in it."""
    return f"pdpanel-k8s-{worker}-{rank}-address"


def with_addresses(text: str, marks: Marks) -> str:
    """Returns `text` with addresses for marks, and all else as it is."""
    alone = _MARK.fullmatch(text) is not None
    return _MARK.sub(lambda found: marks(found[1], int(found[2]), alone), text)


def member_texts(lists: Sequence[Sequence[str]], marks: Sequence[Marks], field: str) -> list[str]:
    """Returns the one list of texts that stands for those of all pods of a template.

    Args:
        lists: the texts of each pod, at the same places; several are those of ranks 1, 2 and so on.
        marks: what stands for addresses in the texts of each pod.
        field: what an error names.

    Raises:
        ConfigError: the pods differ by more than their addresses and ranks.
    """
    resolved = [[with_addresses(literal(text), own) for text in texts] for texts, own in zip(lists, marks, strict=True)]
    if len({len(texts) for texts in resolved}) > 1:
        raise _differs(field, f"{len(resolved[0])} arguments")
    return [_common(texts, field) for texts in zip(*resolved, strict=True)]


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
