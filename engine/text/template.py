"""A model's chat template: messages to a prompt.

Renders with the variables that transformers gives to templates, and turns whatever goes wrong into one
sentence. Imports jinja2, so `engine.text.tokenizer` imports this file on the first chat request. Knows
nothing of tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..errors import RequestError
from .sandbox import MAX_RESULT_CHARACTERS, ChatEnvironment, ExhaustedError

__all__ = ["ChatTemplate"]

_REMEDY = "start the worker with a template that fits the model, --chat-template FILE"
_CONTINUE_TAG = "CONTINUE_FINAL_MESSAGE_TAG "


class ChatTemplate:
    """One compiled template; safe to use from several threads.

    Args:
        source: the jinja2 text.
        variables: special tokens by the names that templates use, such as `bos_token`.

    Raises:
        RequestError: `source` is no valid template.
    """

    def __init__(self, source: str, variables: Mapping[str, str]) -> None:
        self._environment = ChatEnvironment()
        self._variables = dict(variables)
        self._environment.refill()
        try:
            self._template = self._environment.from_string(source)
        except Exception as error:  # jinja2 evaluates constants while compiling: any error of an operation
            raise _refusal(f"the model's chat template does not compile ({_first_line(error)})", None) from error

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        add_generation_prompt: bool,
        continue_final_message: bool,
        tools: Sequence[Mapping[str, Any]] | None,
        extra: Mapping[str, Any],
    ) -> str:
        """Returns the prompt for `messages`; see `Tokenizer.render_chat`."""
        chat = [dict(message) for message in messages]
        if continue_final_message:
            if not chat or not isinstance(chat[-1].get("content"), str):
                raise RequestError(
                    "messages",
                    messages,
                    "there is no final text to continue",
                    "end with a message that has text",
                )
            chat[-1]["content"] += _CONTINUE_TAG
        text = self._render(
            {
                **self._variables,
                **extra,
                "messages": chat,
                "tools": list(tools) if tools else None,
                "documents": None,
                "add_generation_prompt": add_generation_prompt and not continue_final_message,
            },
            messages,
        )
        return _cut_at_tag(text, messages) if continue_final_message else text

    def _render(self, variables: dict[str, Any], messages: object) -> str:
        self._environment.refill()
        try:
            return "".join(self._pieces(variables))
        except ExhaustedError as error:
            raise _refusal(f"the model's chat template gave up: {error.message}", messages) from error
        except Exception as error:  # templates are programs of other people: they fail in every way
            raise _refusal(f"the model's chat template refuses them ({_first_line(error)})", messages) from error

    def _pieces(self, variables: dict[str, Any]) -> Iterator[str]:
        total = 0
        for piece in self._template.generate(variables):
            total += len(piece)
            if total > MAX_RESULT_CHARACTERS:
                raise ExhaustedError("its output is too long")
            yield piece


def _cut_at_tag(text: str, messages: object) -> str:
    at = text.rfind(_CONTINUE_TAG.strip())
    if at < 0:
        raise _refusal("the model's chat template drops the final message, which was to be continued", messages)
    if text.startswith(_CONTINUE_TAG, at):
        return text[:at]
    # The template trims messages, so the end of the unfinished one is trimmed too.
    return text[:at].rstrip()


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return (lines[0] if lines else type(error).__name__)[:200].rstrip(".")


def _refusal(problem: str, messages: object) -> RequestError:
    return RequestError("messages", messages, problem, f"change the messages or {_REMEDY}")
