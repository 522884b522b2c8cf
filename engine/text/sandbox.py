"""The jinja2 sandbox that chat templates run in: transformers' conventions, and a meter.

Templates come with models and messages come from the network, so neither may hang the worker or fill its
memory: loops, calls, filters and every value that they build are charged to a meter, and an empty meter ends
the rendering. Knows nothing of messages; `engine.text.template` is its caller.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import wraps
from typing import Any, NoReturn, cast

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

__all__ = ["MAX_RESULT_CHARACTERS", "ChatEnvironment", "ExhaustedError"]

_MAX_STEPS = 200_000
_MAX_CHARACTERS = 1 << 27
MAX_RESULT_CHARACTERS = 1 << 25
_MAX_INTEGER_BITS = 10_000
_ITEM_CHARACTERS = 64
_MULTIPLYING = frozenset(
    {"*", "center", "expandtabs", "format", "indent", "join", "ljust", "replace", "rjust", "translate"}
    | {"batch", "slice", "tojson", "wordwrap", "zfill"}
)
_WIDE_FORMAT = re.compile(r"\d{6}")


class ExhaustedError(TemplateError):
    """Raised when a template loops or expands beyond its allowance."""


def _size(value: object) -> int:
    """Returns what one step over `value` costs, in characters, its items taken as equally small."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, list | tuple | dict | range):
        return len(value) * _ITEM_CHARACTERS
    return 1


def _deep_size(value: object, enough: int) -> int:
    """Returns what writing `value` out costs; ends above `enough`, since lists may share their parts."""
    total, waiting = 0, [value]
    while waiting and total <= enough:
        item = waiting.pop()
        total += _size(item)
        if isinstance(item, list | tuple):
            waiting.extend(item)
        elif isinstance(item, dict):
            waiting.extend((*item.keys(), *item.values()))
    return total


def _extent(value: object) -> int:
    """Returns by how much `value` may multiply the length of a text."""
    return abs(value) if isinstance(value, int) else max(1, _deep_size(value, MAX_RESULT_CHARACTERS))


class _Meter:
    """What one rendering may still spend."""

    def __init__(self) -> None:
        self.steps = _MAX_STEPS
        self.characters = _MAX_CHARACTERS

    def charge(self, characters: int) -> None:
        """Takes one step and `characters`."""
        self.steps -= 1
        self.characters -= characters
        if self.steps < 0 or self.characters < 0:
            raise ExhaustedError("it loops or expands too much")

    @staticmethod
    def foresee(name: str, value: object, arguments: Sequence[object]) -> None:
        """Refuses an operation whose result may be huge before it allocates anything."""
        if name not in _MULTIPLYING:
            return
        if name == "format" and isinstance(value, str):
            wide = _WIDE_FORMAT.search(value) is not None
            if not (wide or "*" in value or ":{" in value):
                # Integers are only shown, not used as widths.
                arguments = [item for item in arguments if not isinstance(item, int)]
        else:
            wide = False
        most = max(map(_extent, arguments), default=1)
        if wide or most * _deep_size(value, MAX_RESULT_CHARACTERS) > MAX_RESULT_CHARACTERS:
            raise ExhaustedError(f"its {name!r} expands too much")


class _Instrument(NodeTransformer):
    """Routes loop bodies, iterables and expressions that build or show a value through a counted call."""

    def _counted(self, expression: nodes.Node) -> nodes.Expr:
        call = nodes.Call(nodes.EnvironmentAttribute("measured"), [expression], [], None, None)
        call.set_lineno(expression.lineno)
        return call

    def _built(self, node: nodes.Expr) -> nodes.Expr:
        self.generic_visit(node)
        return self._counted(node)

    visit_Concat = visit_List = visit_Dict = _built

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Expr:
        self.generic_visit(node)
        return self._counted(node) if node.ctx == "load" else node

    def visit_For(self, node: nodes.For) -> nodes.For:
        self.generic_visit(node)
        node.iter = self._counted(node.iter)
        tick = nodes.ExprStmt(self._counted(nodes.Const(None).set_lineno(node.lineno)))
        node.body.insert(0, tick.set_lineno(node.lineno))
        return node

    def visit_Output(self, node: nodes.Output) -> nodes.Output:
        self.generic_visit(node)
        node.nodes = [self._counted(child) for child in node.nodes]
        return node


class _TemplateNamespace(Namespace):
    """jinja2's namespace without underscore names, as in transformers."""

    def __init__(*args: Any, **attributes: Any) -> None:
        # The signature of jinja2's own, so that a template may name an attribute `self`.
        self, *sources = args
        Namespace.__init__(self)
        for name, value in dict(*sources, **attributes).items():
            self[name] = value

    def __setitem__(self, name: str, value: object) -> None:
        if name.startswith("_"):
            raise TemplateError(f"a namespace cannot store {name!r}")
        super().__setitem__(name, value)

    def __repr__(self) -> str:
        # Namespaces can hold each other, and writing such a web out never ends.
        return "<namespace>"


class _Generation(Extension):
    """`{% generation %}`, which marks assistant text for training: here the text alone."""

    tags = {"generation"}  # noqa: RUF012 - jinja2 declares it so

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class ChatEnvironment(ImmutableSandboxedEnvironment):
    """The sandbox of transformers' chat templates, metered."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        self._current = threading.local()
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation])
        self.filters["tojson"] = _tojson
        self.filters = {name: self._metered(name, function) for name, function in self.filters.items()}
        self.globals.update(raise_exception=_raise_exception, strftime_now=_strftime_now, namespace=_TemplateNamespace)
        del self.globals["lipsum"]

    @property
    def meter(self) -> _Meter:
        """The current thread's meter."""
        return self._current.meter

    def refill(self) -> None:
        """Gives the current thread a full meter."""
        self._current.meter = _Meter()

    @staticmethod
    def measured(value: object) -> object:
        """Returns `value`; `call`, through which templates reach this, charges for it."""
        return value

    def _metered(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        # jinja2 marks filters that take the context or the environment first; `wraps` copies the mark.
        subject = 1 if hasattr(function, "jinja_pass_arg") else 0

        @wraps(function)
        def metered(*args: Any, **kwargs: Any) -> Any:
            rest = (*args[subject + 1 :], *kwargs.values())
            self.meter.foresee(name, args[subject], rest)
            result = function(*args, **kwargs)
            self.meter.charge(_size(args[subject]) + _size(result))
            return result

        return metered

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        return cast(nodes.Template, _Instrument().visit(super()._parse(source, name, filename)))

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Calls what the template calls, charged; foresees methods of strings."""
        # Named like jinja2's own, so that a template may call a macro with an argument `self` or `obj`.
        # jinja2 wraps `str.format` and keeps the method itself in `__wrapped__`.
        owner = getattr(getattr(__obj, "__wrapped__", __obj), "__self__", None)
        if isinstance(owner, str):
            __self.meter.foresee(__obj.__name__, owner, (*args, *kwargs.values()))
        result = super().call(__context, __obj, *args, **kwargs)
        __self.meter.charge(_size(owner) + _deep_size(result, _MAX_CHARACTERS))
        return result

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Computes `left operator right`, charged."""
        if isinstance(left, int) and isinstance(right, int):
            bits = left.bit_length() * max(right, 1) if operator == "**" else left.bit_length() + right.bit_length()
            if bits > _MAX_INTEGER_BITS and operator in {"*", "**"}:
                raise ExhaustedError("its integers grow too large")
        elif operator == "*":
            text, times = (right, left) if isinstance(left, int) else (left, right)
            self.meter.foresee("*", text, (times,))
        elif operator == "%" and isinstance(left, str):
            self.meter.foresee("format", left, right if isinstance(right, tuple) else (right,))
        result = super().call_binop(context, operator, left, right)
        self.meter.charge(_deep_size(result, _MAX_CHARACTERS))
        return result

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Returns `obj[argument]`; slices are charged."""
        result = super().getitem(obj, argument)
        if isinstance(argument, slice):
            self.meter.charge(_size(result))
        return result


def _tojson(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # jinja2's own escapes HTML characters.
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: object) -> NoReturn:
    raise TemplateError(str(message))


def _strftime_now(pattern: str) -> str:
    return datetime.now().strftime(pattern)
