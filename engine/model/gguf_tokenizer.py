"""The tokenizer inside a GGUF file, as one of the `tokenizers` package.

Owns the rules that GGUF names but does not contain: which split belongs to which `tokenizer.ggml.pre`, and
how SentencePiece scores become merges. The splits are those of llama.cpp (src/llama-vocab.cpp). Knows nothing
of files.
"""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from ..errors import ConfigError
from .gguf_header import GgufHeader

__all__ = ["SERVED_PRE_TOKENIZERS", "build_tokenizer"]

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_DEFAULT = (r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", r"[0-9][0-9][0-9]")

_SPLITS: dict[str, tuple[str, ...]] = {
    "default": _DEFAULT,
    "gpt-2": (_GPT2,),
    "phi-2": (_GPT2,),
    "smollm": (r"\p{N}", _GPT2),
    "starcoder": (r"\p{N}", _GPT2),
    "refact": (r"\p{N}", _GPT2),
    "command-r": (r"\p{N}", _GPT2),
    "llama-bpe": (_LLAMA3,),
    "llama3": (_LLAMA3,),
    "llama-v3": (_LLAMA3,),
    "qwen2": (_QWEN2,),
    "deepseek-r1-qwen": (_QWEN2,),
}
_LLAMA3_FAMILY = frozenset({"llama-bpe", "llama3", "llama-v3"})

SERVED_PRE_TOKENIZERS = tuple(_SPLITS)

_CONTROL = 3
_USER_DEFINED = 4
_BYTE = 6


def build_tokenizer(header: GgufHeader, *, source: str) -> Tokenizer:
    """Returns the tokenizer that a GGUF file's metadata describes.

    Args:
        header: of the file.
        source: the model as the user named it, for errors.

    Raises:
        ConfigError: the tokenizer is missing, incomplete or of a kind that is not served.
        DamagedFileError: a value is of another type than it should be.
    """
    kind = header.text("tokenizer.ggml.model")
    tokens = header.texts("tokenizer.ggml.tokens")
    types = header.numbers("tokenizer.ggml.token_type") or [1] * len(tokens)
    if not tokens or len(types) != len(tokens) or len(set(tokens)) != len(tokens):
        raise ConfigError(
            "--model-path", source, "its tokenizer is missing or incomplete", "use a file with a tokenizer"
        )
    if kind == "gpt2":
        tokenizer = _byte_level(header, tokens, source)
        adds_bos = header.text("tokenizer.ggml.pre", "default") in _LLAMA3_FAMILY
    elif kind == "llama":
        tokenizer = _sentencepiece(header, tokens, types, source)
        adds_bos = True
    else:
        problem = f"the tokenizer {kind!r} is not served"
        raise ConfigError("--model-path", source, problem, "use a file whose tokenizer is gpt2 or llama")
    # Both are matched before any split; only control tokens vanish from text without special tokens.
    for wanted, special in ((_CONTROL, True), (_USER_DEFINED, False)):
        added = [t for t, token_type in zip(tokens, types, strict=True) if token_type == wanted]
        extra = [AddedToken(token, special=special, normalized=False) for token in added]
        (tokenizer.add_special_tokens if special else tokenizer.add_tokens)(extra)
    bos = header.token_id("tokenizer.ggml.bos_token_id")
    if bos is not None and 0 <= bos < len(tokens) and header.flag("tokenizer.ggml.add_bos_token", adds_bos):
        tokenizer.post_processor = processors.TemplateProcessing(
            single="bos $A",
            pair="bos $A $B",
            special_tokens=[{"id": "bos", "ids": [bos], "tokens": [tokens[bos]]}],
        )
    return tokenizer


def _byte_level(header: GgufHeader, tokens: Sequence[str], source: str) -> Tokenizer:
    """Returns a byte-level BPE tokenizer, as GPT-2, Llama 3, Qwen2 and SmolLM use it."""
    pre = header.text("tokenizer.ggml.pre", "default")
    splits = _SPLITS.get(pre)
    if splits is None:
        served = ", ".join(SERVED_PRE_TOKENIZERS)
        problem = f"the pre-tokenizer {pre!r} is not served"
        raise ConfigError("--model-path", source, problem, f"use a file whose pre-tokenizer is one of {served}")
    vocab = {token: index for index, token in enumerate(tokens)}
    parts = [merge.partition(" ") for merge in header.texts("tokenizer.ggml.merges")]
    pairs = [(left, right) for left, _, right in parts]
    if not pairs or any(not vocab.keys() >= {left, right, left + right} for left, right in pairs):
        raise ConfigError("--model-path", source, "its tokenizer's merges do not fit its tokens", "download it again")
    bpe = models.BPE(vocab=vocab, merges=pairs, ignore_merges=pre in _LLAMA3_FAMILY)
    tokenizer = Tokenizer(bpe)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            *(pre_tokenizers.Split(Regex(pattern), behavior="isolated") for pattern in splits),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _sentencepiece(header: GgufHeader, tokens: Sequence[str], types: Sequence[float], source: str) -> Tokenizer:
    """Returns a SentencePiece BPE tokenizer: each way to join two tokens into one, ranked by its score.

    Ranks stand for scores exactly as long as scores differ, which they do in files made from SentencePiece's
    BPE.
    """
    scores = header.numbers("tokenizer.ggml.scores")
    if len(scores) != len(tokens):
        raise ConfigError("--model-path", source, "its tokenizer has no scores", "download it again")
    vocab = {token: index for index, token in enumerate(tokens)}
    mergeable = {t for t, token_type in zip(tokens, types, strict=True) if token_type in {1, _USER_DEFINED}}
    ranked = [
        (-scores[vocab[token]], vocab[token[:cut]], vocab[token[cut:]])
        for token in mergeable
        for cut in range(1, len(token))
        if token[:cut] in vocab and token[cut:] in vocab
    ]
    ranked.sort()
    unknown = header.integer("tokenizer.ggml.unknown_token_id", 0)
    bpe = models.BPE(
        vocab=vocab,
        merges=[(tokens[left], tokens[right]) for _, left, right in ranked],
        unk_token=tokens[unknown] if 0 <= unknown < len(tokens) else None,
        fuse_unk=True,
        byte_fallback=list(types).count(_BYTE) == 256,
    )
    tokenizer = Tokenizer(bpe)
    adds_space = header.flag("tokenizer.ggml.add_space_prefix", True)
    prefix = [normalizers.Prepend("▁")] if adds_space else []
    tokenizer.normalizer = normalizers.Sequence([*prefix, normalizers.Replace(" ", "▁")])
    strip = [decoders.Strip(" ", 1, 0)] if adds_space else []
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    tokenizer.decoder = decoders.Sequence(steps)
    return tokenizer
