from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.engine.request import Finish, FinishKind, SamplingParams
from pdpanel.engine.text.stream import TextPiece, TextStream
from pdpanel.engine.text.tokenizer import Tokenizer
from tokenizers import AddedToken, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as Backend

LENGTH = Finish(FinishKind.LENGTH)


def make_tokenizer() -> Tokenizer:
    backend = Backend(
        models.BPE({symbol: i for i, symbol in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, [])
    )
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken("<eos>", special=True, normalized=False)])
    return Tokenizer(backend, None, {})


TOKENIZER = make_tokenizer()
EOS = 256
SAMPLING = st.builds(
    SamplingParams,
    stop=st.lists(st.text("ab\u00e9", min_size=1, max_size=3), max_size=2).map(tuple),
    no_stop_trim=st.booleans(),
    skip_special_tokens=st.booleans(),
)


def run(ids: Sequence[int], finish: Finish | None = None, sampling: SamplingParams | None = None) -> list[TextPiece]:
    return TextStream(TOKENIZER, sampling or SamplingParams()).push(ids, finish)


def text_of(pieces: Sequence[TextPiece]) -> str:
    return "".join(piece.text for piece in pieces)


def stopped_by(token: int) -> Finish:
    return Finish(FinishKind.STOP, token)


class TestPieces:
    def test_there_is_one_piece_per_token_and_the_last_has_the_finish(self) -> None:
        pieces = run(TOKENIZER.encode("a\u00e9b"), LENGTH)
        assert pieces == [
            TextPiece("a", None, 1),
            TextPiece("", None, 2),
            TextPiece("\u00e9", None, 3),
            TextPiece("b", LENGTH, 4),
        ]

    def test_an_unfinished_character_is_shown_at_the_end(self) -> None:
        assert run(TOKENIZER.encode("\u00e9")[:1], LENGTH) == [TextPiece("\ufffd", LENGTH, 1)]

    def test_a_finish_without_tokens_shows_what_was_held(self) -> None:
        stream = TextStream(TOKENIZER, SamplingParams(stop=("ab",)))
        assert stream.push(TOKENIZER.encode("xa")) == [TextPiece("x", None, 1), TextPiece("", None, 2)]
        abort = Finish(FinishKind.ABORT, message="The peer went away.", http_status=502)
        assert stream.push((), abort) == [TextPiece("a", abort, 2)]
        assert stream.push(TOKENIZER.encode("b"), LENGTH) == []

    @given(st.lists(st.integers(0, EOS)), SAMPLING, st.data())
    def test_how_the_tokens_are_grouped_makes_no_difference(
        self, ids: list[int], sampling: SamplingParams, data: st.DataObject
    ) -> None:
        """Both halves of a pair number their events by token, so the text at each number must agree."""
        whole = run(ids, LENGTH if ids else None, sampling)
        parts = TextStream(TOKENIZER, sampling)
        pieces: list[TextPiece] = []
        rest = list(ids)
        while rest:
            count = data.draw(st.integers(1, len(rest)))
            pieces += parts.push(rest[:count], LENGTH if count == len(rest) else None)
            rest = rest[count:]
        assert pieces == whole
        assert [piece.completion_tokens for piece in whole] == list(range(1, len(whole) + 1))
        assert all(piece.finish is None for piece in whole[:-1])

    @given(st.lists(st.integers(0, EOS), min_size=1), st.booleans())
    def test_without_stops_the_text_is_the_decoded_text(self, ids: list[int], skip: bool) -> None:
        sampling = SamplingParams(skip_special_tokens=skip)
        assert text_of(run(ids, LENGTH, sampling)) == TOKENIZER.decode(ids, skip_special_tokens=skip)

    def test_tokens_already_sent_can_be_replayed(self) -> None:
        ids, sampling = TOKENIZER.encode("x\u00e9 a b"), SamplingParams(stop=("a b",))
        whole = run(ids, None, sampling)
        for count in range(len(ids)):
            stream = TextStream(TOKENIZER, sampling)
            stream.push(ids[:count])
            assert stream.push(ids[count:]) == whole[count:]


class TestStopTokens:
    @pytest.mark.parametrize("token", [EOS, ord("!") - 33])
    def test_the_token_that_ends_the_request_gives_no_text(self, token: int) -> None:
        finish = stopped_by(token)
        pieces = run([*TOKENIZER.encode("hi"), token], finish, SamplingParams(skip_special_tokens=False))
        assert text_of(pieces) == "hi"
        assert pieces[-1] == TextPiece("", finish, 3)

    def test_it_does_with_no_stop_trim(self) -> None:
        sampling = SamplingParams(skip_special_tokens=False, no_stop_trim=True)
        assert text_of(run([*TOKENIZER.encode("hi"), EOS], stopped_by(EOS), sampling)) == "hi<eos>"
        assert text_of(run([EOS], stopped_by(EOS), SamplingParams(no_stop_trim=True))) == ""

    def test_the_same_token_gives_text_while_the_request_goes_on(self) -> None:
        assert text_of(run(TOKENIZER.encode("!!"), stopped_by(TOKENIZER.encode("!")[0]))) == "!"
        assert text_of(run(TOKENIZER.encode("!!"), LENGTH)) == "!!"


class TestStopStrings:
    def test_a_match_over_several_tokens_ends_the_text_and_says_so(self) -> None:
        stream = TextStream(TOKENIZER, SamplingParams(stop=("END",)))
        pieces = stream.push(TOKENIZER.encode("an EN"))
        assert text_of(pieces) == "an "
        assert (stream.finish, stream.stopped_by_text) == (None, False)
        stop = Finish(FinishKind.STOP, "END")
        assert stream.push(TOKENIZER.encode("D and more")) == [TextPiece("", stop, 6)]
        assert (stream.finish, stream.stopped_by_text) == (stop, True)
        assert stream.push((), LENGTH) == []

    def test_the_stop_string_stays_with_no_stop_trim(self) -> None:
        sampling = SamplingParams(stop=("END",), no_stop_trim=True)
        assert text_of(run(TOKENIZER.encode("an END."), None, sampling)) == "an END"

    def test_a_half_stop_string_is_shown_when_the_request_ends(self) -> None:
        assert text_of(run(TOKENIZER.encode("an EN"), LENGTH, SamplingParams(stop=("END",)))) == "an EN"

    def test_it_wins_over_a_length_that_ends_with_the_same_token(self) -> None:
        pieces = run(TOKENIZER.encode("xEND"), LENGTH, SamplingParams(stop=("END",)))
        assert pieces[-1].finish == Finish(FinishKind.STOP, "END")
        assert text_of(pieces) == "x"

    def test_it_does_not_hide_an_abort(self) -> None:
        abort = Finish(FinishKind.ABORT, message="Given up.")
        pieces = run(TOKENIZER.encode("xEND"), abort, SamplingParams(stop=("END",)))
        assert (pieces[-1].finish, text_of(pieces)) == (abort, "x")
