"""What the probe refuses: a source that cannot be read as a host.

One error, raised for bad input alone. Whatever is missing inside a readable source is a `Reading`.
"""

from __future__ import annotations

__all__ = ["SourceError"]


class SourceError(Exception):
    """A dump, a tree or a topology file that cannot be read.

    Attributes:
        field: the option or value at fault, such as `--root`.
        value: what was given.
        problem: what is wrong with it, as the end of a sentence that begins with it.
        remedy: what to give instead, as an instruction.
    """

    def __init__(self, field: str, value: str, problem: str, remedy: str) -> None:
        super().__init__(f"{field} = {value!r} {problem}; {remedy}.")
        self.field = field
        self.value = value
        self.problem = problem
        self.remedy = remedy
