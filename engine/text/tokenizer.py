"""The model's tokenizer: text to ids, ids to text, messages to a prompt.

Wraps the `tokenizers` package over one `tokenizer.json`. Knows nothing of HTTP, sampling or torch; the HTTP
layer and the worker call it. jinja2 is imported with the first chat request.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tokenizers

from ..errors import ConfigError, RequestError
from .detokenizer import Detokenizer

if TYPE_CHECKING:
    from .template import ChatTemplate

__all__ = ["Tokenizer"]

_NO_TEMPLATE_REMEDY = (
    "start the worker with --chat-template FILE or send a plain prompt to /generate or /v1/completions"
)


# A template that goes through a message's parts, or asks for the type of one.
_PARTS = re.compile(r"""\bin\s+\w+(?:\.content|\[\s*['"]content['"]\s*\])|['"]image['"]""")
_BYTE_FALLBACK = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def _byte_letters() -> dict[str, int]:
    """Returns the byte of each letter that byte-level vocabularies write their tokens with.

    GPT-2's table (bytes_to_unicode): printable Latin-1 stands for itself, the rest for letters from U+0100 on.
    """
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(0x100 + index): byte for index, byte in enumerate(others)}


_BYTE_OF = _byte_letters()


class Tokenizer:
    """One model's tokenizer; safe to use from several threads.

    Args:
        backend: the loaded `tokenizers` object; its truncation and padding are turned off.
        chat_template: jinja2 text, or None when the model has none.
        special: special tokens by the names that chat templates use, such as `bos_token`.
    """

    def __init__(self, backend: tokenizers.Tokenizer, chat_template: str | None, special: Mapping[str, str]) -> None:
        # Some tokenizer.json files cut or pad every text to a training length.
        backend.no_truncation()
        backend.no_padding()
        self._backend = backend
        self._source = chat_template
        self._special = dict(special)
        self._template: ChatTemplate | None = None
        added = backend.get_added_tokens_decoder()
        self._special_ids = frozenset(token for token, entry in added.items() if entry.special)
        self._added_ids = frozenset(added)
        self._byte_level = backend.decoder is not None and b"ByteLevel" in backend.decoder.__getstate__()

    @classmethod
    def load(
        cls,
        tokenizer_json: Path,
        chat_template: str | None = None,
        special: Mapping[str, str] | None = None,
    ) -> Tokenizer:
        """Returns the tokenizer of a model directory.

        Args:
            tokenizer_json: path of the file `tokenizer.json`.
            chat_template: jinja2 text; None takes chat_template.jinja or tokenizer_config.json beside the
                file.
            special: tokens for chat templates (`bos_token`, `eos_token`, ...) over those of
                tokenizer_config.json.

        Raises:
            ConfigError: a file is missing or malformed.
        """
        settings = _read_settings(tokenizer_json.with_name("tokenizer_config.json"))
        if not tokenizer_json.is_file():
            raise ConfigError(
                "--model-path",
                str(tokenizer_json.parent),
                "tokenizer.json is missing there",
                "give a model directory that has one",
            )
        try:
            backend = tokenizers.Tokenizer.from_file(str(tokenizer_json))
        except Exception as error:  # the package raises plain Exception
            raise ConfigError(
                "--model-path",
                str(tokenizer_json.parent),
                f"tokenizer.json there cannot be read ({error})",
                "download the model again",
            ) from error
        if chat_template is None:
            chat_template = _find_template(tokenizer_json.with_name("chat_template.jinja"), settings)
        return cls(backend, chat_template, {**_special_strings(settings), **(special or {})})

    @property
    def vocab_size(self) -> int:
        """Number of ids, added tokens included."""
        return self._backend.get_vocab_size(with_added_tokens=True)

    @property
    def has_chat_template(self) -> bool:
        """True when `render_chat` can be used."""
        return self._source is not None

    @property
    def template_takes_parts(self) -> bool:
        """True when the chat template goes through the parts of a message and writes the places of images itself."""
        return self._source is not None and _PARTS.search(self._source) is not None

    def token_id(self, text: str) -> int | None:
        """Returns the id of the token that is written exactly `text`, None without one."""
        return self._backend.token_to_id(text)

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Returns the ids of `text`; special tokens written out in it become their ids.

        Args:
            text: any valid Unicode text.
            add_special_tokens: let the model's post-processor add its tokens (a bos for Llama, nothing for
                SmolLM2). False for the result of `render_chat`: templates write them out.

        Raises:
            RequestError: the text has lone surrogates.
        """
        try:
            return self._backend.encode(text, add_special_tokens=add_special_tokens).ids
        except (TypeError, UnicodeEncodeError) as error:  # which one depends on the package's version
            raise RequestError(
                "text", text, "it has a lone surrogate, which is no character", "send valid Unicode"
            ) from error

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """Returns the text of `ids`; invalid UTF-8 becomes U+FFFD, ids beyond the vocabulary nothing."""
        return self._backend.decode(ids, skip_special_tokens=skip_special_tokens)

    def token_text(self, token: int) -> str:
        """Returns the text of one token by itself; broken characters become U+FFFD."""
        return self.token_bytes(token).decode("utf-8", "replace")

    def token_bytes(self, token: int) -> bytes:
        """Returns the bytes that one token stands for; nothing for an id beyond the vocabulary."""
        piece = self._backend.id_to_token(token)
        if piece is None:
            return b""
        if token in self._added_ids:
            return piece.encode()
        if self._byte_level:
            if all(letter in _BYTE_OF for letter in piece):
                return bytes(_BYTE_OF[letter] for letter in piece)
            return piece.encode()
        if match := _BYTE_FALLBACK.fullmatch(piece):
            return bytes((int(match[1], 16),))
        return piece.replace("\u2581", " ").encode()  # how SentencePiece writes a blank

    def detokenizer(self, skip_special_tokens: bool = True, after: Sequence[int] = ()) -> Detokenizer:
        """Returns a fresh incremental decoder, for tokens that follow the ids `after`."""
        backend = self._backend

        def decode(ids: list[int]) -> str:
            return backend.decode(ids, skip_special_tokens=False)

        return Detokenizer(decode, self._special_ids if skip_special_tokens else frozenset(), after)

    def render_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        tools: Sequence[Mapping[str, Any]] | None = None,
        extra: Mapping[str, Any] | None = None,
        keep_parts: bool = False,
    ) -> str:
        """Returns the prompt for `messages`; encode it with `add_special_tokens=False`.

        Args:
            messages: OpenAI messages; a content of text parts is joined.
            add_generation_prompt: end with the opening of the assistant's turn.
            continue_final_message: leave the last message open instead.
            tools: OpenAI tool descriptions.
            extra: more variables for the template (`chat_template_kwargs`).
            keep_parts: leave a content of parts as it is, for a template that takes them.

        Raises:
            RequestError: no template, a template that fails or does not end, or a part that is not text.
        """
        if self._source is None:
            raise RequestError("messages", messages, "the model has no chat template", _NO_TEMPLATE_REMEDY)
        chat = [
            dict(message) if keep_parts else _with_plain_content(index, message)
            for index, message in enumerate(messages)
        ]
        if self._template is None:
            from .template import ChatTemplate

            self._template = ChatTemplate(self._source, self._special)
        return self._template.render(
            chat,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=continue_final_message,
            tools=tools,
            extra=extra or {},
        )


def _with_plain_content(index: int, message: Mapping[str, Any]) -> dict[str, Any]:
    content = message.get("content")
    if not isinstance(content, list | tuple):
        return dict(message)
    texts: list[str] = []
    for place, part in enumerate(content):
        kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
        text = part.get("text") if isinstance(part, Mapping) else None
        if kind != "text" or not isinstance(text, str):
            raise RequestError(
                f"messages[{index}].content[{place}].type",
                kind,
                "this model takes text only",
                'send parts of the form {"type": "text", "text": "..."}',
            )
        texts.append(text)
    return {**message, "content": "".join(texts)}


def _read_settings(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            "--model-path",
            str(path.parent),
            f"{path.name} there is no JSON ({error})",
            "download the model again",
        ) from error
    return settings if isinstance(settings, dict) else {}


def _special_strings(settings: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in settings.items():
        text = value.get("content") if isinstance(value, dict) else value
        if name.endswith("_token") and isinstance(text, str):
            found[name] = text
    return found


def _find_template(path: Path, settings: Mapping[str, Any]) -> str | None:
    if path.is_file():
        return path.read_text(encoding="utf-8")
    template = settings.get("chat_template")
    if isinstance(template, list):
        # Several named templates: transformers takes the one named "default".
        named = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, dict)}
        template = named.get("default") or next(iter(named.values()), None)
    return template if isinstance(template, str) else None
