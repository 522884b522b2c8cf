"""The decode kernels against torch's attention, over pages that lie anywhere."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from pdpanel.engine.gpu.paged_attention import PagedAttention, PagedRows
from pdpanel.engine.model.shape import ModelShape

PAGE = 16
SHAPE = ModelShape(
    architecture="LlamaForCausalLM",
    layers=1,
    hidden=64,
    heads=2,
    kv_heads=2,
    head_dim=64,
    ffn=64,
    vocab=64,
    rope_theta=1e4,
    rope_scaling=None,
    rms_eps=1e-5,
    tie_embeddings=True,
    context_length=2048,
    qkv_bias=False,
    eos_ids=(),
    bos_id=None,
)
TOLERANCES = {torch.float32: 2e-5, torch.bfloat16: 2e-2, torch.float16: 4e-3}


class Case:
    """Random queries over random pages of sequences of these lengths."""

    def __init__(self, device, lengths, *, kv_heads=1, group=1, dim=64, dtype=torch.float32, seed=0) -> None:
        made = torch.Generator().manual_seed(seed)
        self.shape = dataclasses.replace(SHAPE, heads=kv_heads * group, kv_heads=kv_heads, head_dim=dim)
        pages = [-(-length // PAGE) for length in lengths]
        shuffled = torch.randperm(sum(pages) + 3, generator=made)[: sum(pages)].split(pages)
        self.lengths = lengths
        self.q = torch.randn((len(lengths), kv_heads * group, dim), generator=made).to(device, dtype)
        places = (sum(pages) + 3) * PAGE
        self.slots = torch.randn((2, kv_heads, places, dim), generator=made).to(device, dtype)
        table = torch.full((len(lengths), max(pages) + 2), -1, dtype=torch.int32)
        for row, own in enumerate(shuffled):
            table[row, : len(own)] = own
        self.rows = PagedRows(table.to(device), torch.tensor(lengths, dtype=torch.int32, device=device))
        self.kernels = PagedAttention(self.shape, page_size=PAGE, most_rows=8, device=torch.device(device))

    def found(self, only: slice = slice(None)) -> torch.Tensor:
        rows = PagedRows(self.rows.table[only], self.rows.lengths[only])
        return self.kernels.attend(self.q[only], self.slots, rows)

    def expected(self) -> torch.Tensor:
        rows = []
        for row, length in enumerate(self.lengths):
            pages = self.rows.table[row, : -(-length // PAGE)].long()
            past = self.slots.unflatten(2, (-1, PAGE))[:, :, pages].flatten(2, 3)[:, :, :length].float()
            q = self.q[row].float().view(1, -1, 1, self.shape.head_dim)
            rows.append(F.scaled_dot_product_attention(q, past[0:1], past[1:2], enable_gqa=True).flatten())
        return torch.stack(rows)

    def check(self) -> None:
        tolerance = TOLERANCES[self.q.dtype]
        torch.testing.assert_close(self.found().float(), self.expected(), atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("group", [1, 3, 4, 8, 20])
@pytest.mark.parametrize("dim", [64, 128])
def test_attention_over_pages_is_torchs_attention(kernel_device, group: int, dim: int) -> None:
    Case(kernel_device, [1, 15, 64, 90], group=group, dim=dim).check()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bits_differ_by_their_rounding_alone(kernel_device, dtype: torch.dtype) -> None:
    Case(kernel_device, [17, 300], kv_heads=2, group=4, dim=128, dtype=dtype).check()


def test_a_head_size_between_powers_of_two_is_served(kernel_device) -> None:
    Case(kernel_device, [33], group=2, dim=80).check()


@pytest.mark.parametrize("length", [255, 256, 257, 512, 700])
def test_long_sequences_are_cut_into_shares_and_joined(kernel_device, length: int) -> None:
    Case(kernel_device, [length], kv_heads=2, group=3).check()


def test_more_shares_than_there_can_be_make_each_longer(kernel_device) -> None:
    Case(kernel_device, [16 * 256 + 5]).check()


@settings(max_examples=8)
@given(
    lengths=st.lists(st.integers(1, 400), min_size=1, max_size=4),
    kv_heads=st.sampled_from([1, 2]),
    group=st.sampled_from([1, 3, 4, 8]),
    dim=st.sampled_from([64, 128]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    seed=st.integers(0, 1 << 16),
)
def test_any_batch_is_torchs_attention(kernel_device, lengths, kv_heads, group, dim, dtype, seed) -> None:
    Case(kernel_device, lengths, kv_heads=kv_heads, group=group, dim=dim, dtype=dtype, seed=seed).check()


def test_a_rows_bits_do_not_depend_on_the_batch(kernel_device) -> None:
    case = Case(kernel_device, [300, 7, 90, 41], group=3, dtype=torch.bfloat16)
    together = case.found()
    for row in range(4):
        assert torch.equal(case.found(slice(row, row + 1))[0], together[row])


def test_what_lies_behind_a_sequence_changes_no_bit(kernel_device) -> None:
    case = Case(kernel_device, [21, 300], group=3)
    before = case.found()
    used = [place for row, n in enumerate(case.lengths) for place in _places(case, row, n)]
    behind = torch.ones(case.slots.shape[2], dtype=torch.bool)
    behind[used] = False
    case.slots[:, :, behind] = float("nan")
    case.kernels._sums.fill_(float("nan"))  # shares of other batches
    case.kernels._masses.fill_(float("nan"))
    assert torch.equal(case.found(), before)


def _places(case: Case, row: int, length: int) -> list[int]:
    table = case.rows.table[row].tolist()
    return [table[token // PAGE] * PAGE + token % PAGE for token in range(length)]
