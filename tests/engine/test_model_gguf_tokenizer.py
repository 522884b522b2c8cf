"""Tokenizers built from GGUF metadata."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.engine.errors import ConfigError
from pdpanel.engine.model.gguf_header import GgufHeader
from pdpanel.engine.model.gguf_tokenizer import SERVED_PRE_TOKENIZERS, build_tokenizer
from pdpanel.engine.model.tensorfile import DamagedFileError
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

MERGES = ["Ġ t", "h e", "Ġt he", "i n", "1 2", "12 3", "Ċ Ċ"]
TOKENS = ["<|end|>", "<|im_end|>", "<tool>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
TOKENS += [merge.replace(" ", "") for merge in MERGES]


def metadata_of(**changes: Any) -> dict[str, Any]:
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": TOKENS,
        "tokenizer.ggml.token_type": [3, 3, 4, *[1] * (len(TOKENS) - 3)],
        "tokenizer.ggml.merges": MERGES,
        **{f"tokenizer.ggml.{key}": value for key, value in changes.items()},
    }


def build(**changes: Any) -> Tokenizer:
    return build_tokenizer(GgufHeader(metadata_of(**changes), {}), source="m.gguf")


def reference() -> Tokenizer:
    """The SmolLM2 recipe: single digits, then the splits of GPT-2."""
    merges = [(left, right) for left, _, right in (merge.partition(" ") for merge in MERGES)]
    tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(TOKENS)}, merges=merges))
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    digits = pre_tokenizers.Digits(individual_digits=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in TOKENS[:3]])
    return tokenizer


@given(st.text(max_size=40) | st.text("the in123 \n'sé½₃٣<|im_end|>", max_size=40))
def test_smollm_splits_like_the_reference_recipe_and_decodes_back(text: str) -> None:
    tokenizer = build()
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert ids == reference().encode(text, add_special_tokens=False).ids
    assert tokenizer.decode(ids, skip_special_tokens=False) == text


@pytest.mark.parametrize("pre", SERVED_PRE_TOKENIZERS)
def test_every_served_split_loses_nothing(pre: str) -> None:
    tokenizer = build(pre=pre)
    text = "The in-the 12345  six\n\n don't <|im_end|>  €½ \t x"
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert tokenizer.decode(ids, skip_special_tokens=False) == text
    assert Tokenizer.from_str(tokenizer.to_str()).encode(text, add_special_tokens=False).ids == ids


def pieces(text: str, **changes: Any) -> Sequence[str]:
    return build(**changes).encode(text, add_special_tokens=False).tokens


def test_digits_are_split_as_each_family_does() -> None:
    assert pieces("1234", pre="smollm") == ["1", "2", "3", "4"]
    assert pieces("1234", pre="qwen2") == ["1", "2", "3", "4"]
    assert pieces("1234", pre="llama-bpe") == ["123", "4"]
    assert pieces("1234", pre="gpt-2") == ["123", "4"]
    assert pieces("0123", pre="llama-bpe") == ["0", "12", "3"], "groups of three from the left, then merges"


def test_only_control_tokens_vanish_from_text() -> None:
    tokenizer = build()
    ids = tokenizer.encode("a<tool>b<|im_end|>", add_special_tokens=False).ids
    assert ids[1::2] == [2, 1]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "a<tool>b"


def test_bos_is_added_where_the_file_or_the_family_says_so() -> None:
    for changes, expected in (
        ({}, []),
        ({"bos_token_id": 0}, []),
        ({"bos_token_id": 0, "add_bos_token": True}, [0]),
        ({"bos_token_id": 0, "pre": "llama-bpe"}, [0]),
        ({"bos_token_id": 0, "pre": "llama-bpe", "add_bos_token": False}, []),
    ):
        tokenizer = build(**changes)
        plain = tokenizer.encode("the", add_special_tokens=False).ids
        assert tokenizer.encode("the").ids == expected + plain, changes


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": "bert"}, "tokenizer 'bert' is not served"),
        ({"pre": "tekken"}, "'tekken' is not served; .*smollm"),
        ({"tokens": []}, "missing or incomplete"),
        ({"tokens": [*TOKENS[:-1], TOKENS[0]]}, "missing or incomplete"),
        ({"token_type": [1]}, "missing or incomplete"),
        ({"merges": []}, "merges do not fit"),
        ({"merges": ["q z"]}, "merges do not fit"),
        ({"merges": ["nospace"]}, "merges do not fit"),
        ({"model": "llama"}, "no scores"),
    ],
)
def test_what_is_not_served_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build(**changes)


def test_a_value_of_another_type_is_damage() -> None:
    with pytest.raises(DamagedFileError, match=r"tokenizer\.ggml\.tokens is not a list of texts"):
        build(tokens=[1, 2])


PIECES = ["▁t", "he", "▁the", "in", "▁in", "▁", "t", "h", "e", "i", "n", "é"]
SPM_TOKENS = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256)), *PIECES]


def build_spm(**changes: Any) -> Tokenizer:
    scores = [0.0] * 259 + [-float(i) for i in range(len(PIECES))]
    types = [2, 3, 3, *[6] * 256, *[1] * len(PIECES)]
    spm = {"model": "llama", "tokens": SPM_TOKENS, "token_type": types, "scores": scores, "bos_token_id": 1}
    return build(**{**spm, "unknown_token_id": 0, **changes})


def test_sentencepiece_merges_by_score_and_falls_back_to_bytes() -> None:
    tokenizer = build_spm()
    assert tokenizer.encode("the in").tokens == ["<s>", "▁the", "▁in"]
    # "▁t" and "he" outrank "in", and "▁the" is made of them; "z" and "€" are in no piece.
    found = tokenizer.encode("then z€", add_special_tokens=False)
    assert found.tokens == ["▁the", "n", "▁", "<0x7A>", "<0xE2>", "<0x82>", "<0xAC>"]
    assert tokenizer.decode(found.ids) == "then z€"
    assert build_spm(add_space_prefix=False).encode("the", add_special_tokens=False).tokens == ["t", "he"]


@given(st.text("the in€zé\n", max_size=30))
def test_sentencepiece_decodes_back(text: str) -> None:
    tokenizer = build_spm()
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False).ids) == text
