from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.engine.errors import ConfigError, RequestError
from pdpanel.engine.text.detokenizer import Detokenizer
from pdpanel.engine.text.tokenizer import Tokenizer
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers import Tokenizer as Backend
from transformers.utils.chat_template_utils import render_jinja_template

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
USER = {"role": "user", "content": "Hi"}


def byte_level() -> Backend:
    """256 bytes, merges (one ends within a character), three special tokens, one plain added one."""
    vocab = {symbol: index for index, symbol in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    merges = [("h", "i"), ("Ã", "©"), ("ä", "½"), ("Ġ", "ä"), ("½", "ä")]
    for left, right in merges:
        vocab[left + right] = len(vocab)
    backend = Backend(models.BPE(vocab=vocab, merges=merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    backend.decoder = decoders.ByteLevel()
    names = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    backend.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names])
    backend.add_tokens([AddedToken("<tool>", special=False, normalized=False)])
    return backend


def byte_fallback() -> Backend:
    """Like SentencePiece: U+2581 for spaces, unknown characters as bytes, a bos by post-processor."""
    vocab = {"<unk>": 0, "<s>": 1, "</s>": 2}
    for byte in range(256):
        vocab[f"<0x{byte:02X}>"] = len(vocab)
    for piece in ("\u2581", "h", "i", "\u2581h", "hi", "\u2581hi", "a"):
        vocab[piece] = len(vocab)
    merges = [("\u2581", "h"), ("h", "i"), ("\u2581h", "i")]
    backend = Backend(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    backend.add_special_tokens([AddedToken(name, special=True) for name in ("<s>", "</s>")])
    return backend


def tokenizer(template: str | None = CHATML) -> Tokenizer:
    return Tokenizer(byte_level(), template, {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"})


BYTES = tokenizer()
FALLBACK = Tokenizer(byte_fallback(), None, {})


def streamed(subject: Tokenizer, ids: list[int], *, skip: bool = True) -> list[str]:
    detokenizer = subject.detokenizer(skip)
    return [*(detokenizer.push(token) for token in ids), detokenizer.flush()]


class TestEncoding:
    @given(st.text(st.characters(exclude_categories=["Cs"])))
    def test_text_survives_the_round_trip(self, text: str) -> None:
        assert BYTES.decode(BYTES.encode(text), skip_special_tokens=False) == text

    def test_special_tokens_written_out_become_their_ids(self) -> None:
        end = BYTES.token_id("<|im_end|>")
        assert end is not None
        assert BYTES.encode("hi<|im_end|>")[-1] == end
        assert BYTES.decode([end]) == ""
        assert BYTES.decode([end], skip_special_tokens=False) == "<|im_end|>"

    def test_the_post_processor_decides_which_tokens_are_added(self) -> None:
        assert BYTES.encode("hi") == BYTES.encode("hi", add_special_tokens=False)
        assert FALLBACK.encode("hi") == [1, *FALLBACK.encode("hi", add_special_tokens=False)]

    def test_the_vocabulary_counts_added_tokens(self) -> None:
        assert BYTES.vocab_size == 256 + 5 + 3 + 1
        assert BYTES.token_id("no such token") is None

    def test_truncation_and_padding_of_the_file_are_off(self) -> None:
        backend = byte_level()
        backend.enable_truncation(2)
        backend.enable_padding(length=9)
        assert len(Tokenizer(backend, None, {}).encode("abcde")) == 5

    def test_a_lone_surrogate_is_refused(self) -> None:
        with pytest.raises(RequestError, match="surrogate"):
            BYTES.encode("a\ud800b")


class TestDetokenizer:
    @given(st.lists(st.integers(0, BYTES.vocab_size - 1)), st.booleans())
    def test_pieces_join_to_the_whole_for_any_ids(self, ids: list[int], skip: bool) -> None:
        assert "".join(streamed(BYTES, ids, skip=skip)) == BYTES.decode(ids, skip_special_tokens=skip)

    @given(st.lists(st.sampled_from("éäh\xbd"), min_size=30, max_size=90), st.binary(max_size=60))
    def test_pieces_join_over_long_runs_of_invalid_bytes(self, text: list[str], raw: bytes) -> None:
        ids = [BYTES.token_id(alphabet_symbol(byte)) for byte in b"\x80\xe4\xbd" * 20 + raw + b"\xf0\x9f"]
        numbers = [number for number in ids if number is not None] + BYTES.encode("".join(text))
        assert "".join(streamed(BYTES, numbers)) == BYTES.decode(numbers)

    def test_pieces_join_where_every_token_ends_within_a_character(self) -> None:
        """No place of such a run splits cleanly: cutting it anywhere would change the text."""
        token, end = BYTES.token_id("½ä"), BYTES.token_id(alphabet_symbol(0xA0))
        assert token is not None and end is not None
        ids = [*[token] * 60, BYTES.token_id("½") or 0, end, *BYTES.encode("hi")]
        assert "".join(streamed(BYTES, ids)) == BYTES.decode(ids)

    @given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufffd")))
    def test_no_piece_of_valid_text_has_a_replacement_character(self, text: str) -> None:
        pieces = streamed(BYTES, BYTES.encode(text), skip=False)
        assert "\ufffd" not in "".join(pieces)
        assert pieces[-1] == ""

    def test_an_incomplete_character_is_held_until_the_end(self) -> None:
        ids = BYTES.encode("a\u4f60")
        assert streamed(BYTES, ids)[:-1] == ["a", *[""] * (len(ids) - 2), "\u4f60"]
        assert streamed(BYTES, ids[:-1])[-1] == "\ufffd"

    def test_endless_invalid_bytes_are_shown_and_the_window_stays_small(self) -> None:
        token = BYTES.token_id(alphabet_symbol(0x80))
        assert token is not None
        seen: list[int] = []

        def decode(ids: list[int]) -> str:
            seen.append(len(ids))
            return BYTES.decode(ids, skip_special_tokens=False)

        detokenizer = Detokenizer(decode, frozenset())
        text = "".join(detokenizer.push(token) for _ in range(500))
        assert len(text) >= 497
        assert max(seen) <= 34
        assert text + detokenizer.flush() == "\ufffd" * 500

    @given(st.text(st.sampled_from("hi a\u00e4\u4f60\U0001f600")))
    def test_byte_fallback_pieces_join_to_the_whole_for_valid_text(self, text: str) -> None:
        ids = FALLBACK.encode(text)
        assert "".join(streamed(FALLBACK, ids)) == FALLBACK.decode(ids)

    @given(st.lists(st.integers(3 + 0x80, FALLBACK.vocab_size - 1), max_size=120))
    def test_byte_fallback_shows_all_pieces_between_any_bytes(self, ids: list[int]) -> None:
        letters = [piece for piece in "".join(streamed(FALLBACK, ids)) if piece in "ha"]
        assert letters == [piece for piece in FALLBACK.decode(ids) if piece in "ha"]

    def test_a_first_space_is_kept_after_a_prompt(self) -> None:
        """Decoders that strip the first space of a text must not strip the one after a prompt."""
        prompt, token = FALLBACK.encode("a"), FALLBACK.token_id("\u2581hi")
        assert token is not None
        assert FALLBACK.detokenizer(after=prompt).push(token) == " hi"
        assert FALLBACK.detokenizer().push(token) == "hi"


class TestTokensByThemselves:
    @given(st.text(st.characters(exclude_categories=["Cs"])))
    def test_their_bytes_join_to_the_text(self, text: str) -> None:
        assert b"".join(map(BYTES.token_bytes, BYTES.encode(text))) == text.encode()

    @given(st.text(st.sampled_from("hia é日🎉"), min_size=1))
    def test_byte_fallback_has_bytes_too(self, text: str) -> None:
        ids = FALLBACK.encode(text, add_special_tokens=False)
        assert b"".join(map(FALLBACK.token_bytes, ids)) == b" " + text.encode()

    def test_added_tokens_and_broken_characters_have_a_text(self) -> None:
        end, tool = BYTES.token_id("<|im_end|>"), BYTES.token_id("<tool>")
        assert end is not None and tool is not None
        assert (BYTES.token_text(end), BYTES.token_text(tool)) == ("<|im_end|>", "<tool>")
        [first, *_] = BYTES.encode("日")
        assert (BYTES.token_text(first), BYTES.token_text(10**6)) == ("\ufffd", "")


def alphabet_symbol(byte: int) -> str:
    """The character that byte-level vocabularies write for a byte (GPT-2's table)."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return chr(byte) if byte in plain else chr(256 + [b for b in range(256) if b not in plain].index(byte))


class TestLoading:
    def directory(self, path: Path, settings: dict[str, Any] | None = None) -> Path:
        byte_level().save(str(path / "tokenizer.json"))
        if settings is not None:
            (path / "tokenizer_config.json").write_text(json.dumps(settings))
        return path / "tokenizer.json"

    def test_strings_and_template_come_from_the_config_beside(self, tmp_path: Path) -> None:
        settings = {
            "bos_token": {"content": "<|im_start|>"},
            "eos_token": "<|im_end|>",
            "chat_template": "{{ bos_token }}|{{ eos_token }}",
        }
        assert Tokenizer.load(self.directory(tmp_path, settings)).render_chat([USER]) == "<|im_start|>|<|im_end|>"

    def test_the_jinja_file_wins_over_the_config_and_the_argument_over_both(self, tmp_path: Path) -> None:
        path = self.directory(tmp_path, {"chat_template": "config"})
        (tmp_path / "chat_template.jinja").write_text("file")
        assert Tokenizer.load(path).render_chat([USER]) == "file"
        assert Tokenizer.load(path, "argument").render_chat([USER]) == "argument"

    def test_of_several_templates_the_default_one_is_taken(self, tmp_path: Path) -> None:
        named = [{"name": "rag", "template": "r"}, {"name": "default", "template": "d"}]
        assert Tokenizer.load(self.directory(tmp_path, {"chat_template": named})).render_chat([USER]) == "d"

    def test_no_config_means_no_template(self, tmp_path: Path) -> None:
        loaded = Tokenizer.load(self.directory(tmp_path))
        assert not loaded.has_chat_template
        with pytest.raises(RequestError, match="--chat-template FILE") as caught:
            loaded.render_chat([USER])
        assert caught.value.field == "messages"

    def test_missing_and_broken_files_are_named(self, tmp_path: Path) -> None:
        path = tmp_path / "tokenizer.json"
        with pytest.raises(ConfigError, match=r"tokenizer\.json is missing"):
            Tokenizer.load(path)
        path.write_text("{")
        with pytest.raises(ConfigError, match="cannot be read"):
            Tokenizer.load(path)
        byte_level().save(str(path))
        (tmp_path / "tokenizer_config.json").write_text("[1,")
        with pytest.raises(ConfigError, match=r"tokenizer_config\.json"):
            Tokenizer.load(path)

    def test_importing_it_imports_nothing_heavy(self) -> None:
        code = (
            "import sys, pdpanel.engine.text.stream\n"
            "heavy = 'torch', 'numpy', 'jinja2', 'gradio', 'huggingface_hub'\n"
            "print([name for name in heavy if name in sys.modules])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[]"


class TestChat:
    def test_chatml(self) -> None:
        assert tokenizer().render_chat([USER]) == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
        assert tokenizer().render_chat([USER], add_generation_prompt=False).endswith("<|im_end|>\n")

    def test_text_parts_are_joined_and_the_messages_stay_as_they_are(self) -> None:
        parts = [{"type": "text", "text": "H"}, {"type": "text", "text": "i"}]
        message = {"role": "user", "content": parts}
        assert tokenizer().render_chat([message]) == tokenizer().render_chat([USER])
        assert message == {"role": "user", "content": parts}

    @pytest.mark.parametrize("part", [{"type": "image_url", "image_url": {}}, {"type": "text"}, "plain"])
    def test_other_parts_are_refused_by_name(self, part: object) -> None:
        with pytest.raises(RequestError) as caught:
            tokenizer().render_chat([USER, {"role": "user", "content": [{"type": "text", "text": "a"}, part]}])
        assert caught.value.field == "messages[1].content[1].type"

    def test_the_final_message_is_left_open(self) -> None:
        chat = [USER, {"role": "assistant", "content": "Sure: "}]
        assert tokenizer().render_chat(chat, continue_final_message=True).endswith("assistant\nSure: ")
        trimming = CHATML.replace("message['content']", "message['content'] | trim")
        assert tokenizer(trimming).render_chat(chat, continue_final_message=True).endswith("assistant\nSure:")

    @pytest.mark.parametrize("chat", [[], [{"role": "assistant", "content": None}]])
    def test_nothing_to_continue_is_refused(self, chat: list[dict[str, Any]]) -> None:
        with pytest.raises(RequestError, match="no final text"):
            tokenizer().render_chat(chat, continue_final_message=True)

    def test_a_template_that_drops_the_final_message_cannot_continue_it(self) -> None:
        with pytest.raises(RequestError, match="drops the final message"):
            tokenizer("nothing").render_chat([USER], continue_final_message=True)

    @pytest.mark.parametrize(
        "template",
        [
            CHATML,
            "{{ messages | tojson }} {{ tools | tojson(indent=2) if tools }} {{ undefined_name }}|",
            "{%- for m in messages if m.role == 'user' %}\n  {% if loop.last %}{% break %}{% endif %}{{ "
            "m.content }}"
            "{{ loop.index }}{{ loop.length }}\n{% endfor %}",
            "{% set ns = namespace(a='', n=0) %}{% for m in messages[::-1] %}{% set ns.a = ns.a ~ "
            "m['role'] + ';' %}"
            "{% set ns.n = ns.n + 1 * 2 %}{% endfor %}{{ ns.a }}{{ ns.n }}{{ ns.a.split(';')[:-1] | "
            "join(', ') }}",
            "{% macro show(x, self='s', obj='o') %}<{{ x }}{{ self }}{{ obj }}>{% endmacro %}"
            "{{ show(messages[0].content | upper, obj=(1, 2)) }}{{ [1, 2.5, 'x', none, true] }}{{ {'a': "
            "[1]} }}",
            "{% for k, v in tools[0].items() %}{{ k }}={{ v }};{% endfor %}{{ 1699999999 | string }}{{ "
            "'%05d' % 42 }}"
            "{{ '%d' % 1699999999 }}{{ '{:>4}'.format(7) }}{{ 12345678 | tojson(indent=4) }}",
            "{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | list | "
            "join('|') }}"
            "{{ 'a\nb' | indent(4) }}{{ messages | length }}{{ '<&>' | trim }}{{ '<' ~ '&' }}",
            "{% generation %}{{ messages[0].content }}{% endgeneration %}{% set x %}a{{ 1 }}{% endset %}{{ x * 3 }}",
            "{% filter upper %}a{{ bos_token }}{% endfilter %}{{ range(3) | list }}{% for a, b in [(1, "
            "2)] %}{{ b }}"
            "{% endfor %}{% for c in 'xyz' %}{{ loop.cycle('a', 'b') }}{% endfor %}",
            "{% for m in messages recursive %}{{ m.role }}{% if m.more %}{{ loop(m.more) }}{% endif %}{% endfor %}",
        ],
    )
    def test_it_renders_as_transformers_does(self, template: str) -> None:
        chat = [
            {"role": "system", "content": "B\u00e9 <brief> & 'kind'", "more": [{"role": "x", "more": []}]},
            {"role": "user", "content": "Hi\n there  "},
            {"role": "assistant", "content": "\U0001f600", "tool_calls": [{"id": 10**12}]},
        ]
        tools = [{"type": "function", "function": {"name": "f", "parameters": {"b": 1, "a": None}}}]
        rendered, _ = render_jinja_template(
            [chat],
            tools=[*tools],
            chat_template=template,
            add_generation_prompt=True,
            bos_token="<|im_start|>",
            eos_token="<|im_end|>",
        )
        assert tokenizer(template).render_chat(chat, tools=tools) == rendered[0]

    def test_the_clock_and_extra_variables_are_there(self) -> None:
        template = "{{ strftime_now('%Y') | length }}{{ enable_thinking }}"
        assert tokenizer(template).render_chat([USER], extra={"enable_thinking": False}) == "4False"

    @pytest.mark.parametrize(
        ("template", "told"),
        [
            ("{{ raise_exception('Roles must alternate.') }}", "Roles must alternate"),
            ("{{ messages[0]['content'] + 1 }}", "can only concatenate"),
            ("{% if %}", "does not compile"),
            ("{{ messages.append(1) }}", "unsafe|not safely"),
            ("{{ messages.__class__.__mro__ }}", "unsafe"),
            ("{% include '/etc/passwd' %}", "loader"),
            ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion"),
            ("{% set ns = namespace(__x=1) %}", "namespace cannot store"),
        ],
    )
    def test_a_template_that_fails_is_one_sentence_with_the_fix(self, template: str, told: str) -> None:
        with pytest.raises(RequestError, match=told) as caught:
            tokenizer(template).render_chat([USER])
        assert caught.value.field == "messages"
        assert "--chat-template FILE" in str(caught.value)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        "template",
        [
            "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}",
            "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(40) }}",
            "{% set ns = namespace(s='xx') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
            "{% set ns = namespace(s='xx') %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
            "{% set ns = namespace(s='xx') %}{% for i in range(60) %}{% set ns.s %}{{ ns.s }}{{ ns.s }}"
            "{% endset %}"
            "{% endfor %}",
            "{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}{% "
            "endfor %}{{ ns.l }}",
            "{% set ns = namespace(n=99) %}{% for i in range(60) %}{% set ns.n = ns.n * ns.n %}{% endfor %}{{ ns.n }}",
            "{{ 'x' * 9999999999 }}",
            "{{ 9999999999 * 'x' }}",
            "{{ 'x' | center(9999999999) }}",
            "{{ 'x'.ljust(9999999999) }}",
            "{{ '%9999999999d' % 1 }}",
            "{{ '%*d' % (9999999999, 1) }}",
            "{{ '{:9999999999}'.format(1) }}",
            "{{ ('x' * 99999).replace('x', 'y' * 99999) }}",
            "{{ ('x' * 99999).join(range(99999) | map('string') | list) }}",
            "{{ ['x' * 9999] * 99999 }}",
            "{{ 2 ** 99999999 }}",
            "{{ range(99999) | map('center', 99999) | join }}",
            "{% for i in range(99999) %}" + "x" * 5000 + "{% endfor %}",
        ],
    )
    def test_a_template_that_never_ends_is_ended(self, template: str) -> None:
        with pytest.raises(RequestError, match=r"expands too much|too large|too long"):
            tokenizer(template).render_chat([USER])

    def test_a_long_chat_is_within_the_allowance(self) -> None:
        chat = [{"role": "user", "content": "word " * 400}] * 2000
        assert len(tokenizer().render_chat(chat)) > 4_000_000
