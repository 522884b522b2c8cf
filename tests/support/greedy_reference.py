"""What transformers answers, and how sure of it it was: ranks add their parts of a sum in an order of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

__all__ = ["Reference", "greedy_reference", "random_prompts"]


@dataclass(frozen=True)
class Reference:
    """Transformers' greedy output of each prompt and, for each token, the gap between its two best logits."""

    prompts: list[list[int]]
    tokens: list[list[int]]
    gaps: list[list[float]]

    def check(self, name: str, outputs: Sequence[Sequence[int]]) -> None:
        """A difference passes where transformers' two best logits are closer than 1e-4."""
        assert len(outputs) == len(self.prompts)
        for prompt, ours, tokens, gaps in zip(self.prompts, outputs, self.tokens, self.gaps, strict=True):
            assert len(ours) == len(tokens)
            differing = [index for index, token in enumerate(tokens) if ours[index] != token]
            if differing:  # after the first one the two continue different texts
                first = differing[0]
                assert gaps[first] < 1e-4, f"{name}: prompt of {len(prompt)}, token {first}, gap {gaps[first]}"


def greedy_reference(model: Any, prompts: list[list[int]], count: int) -> Reference:
    """Returns what a model of transformers continues `prompts` with, `count` tokens of each."""
    model = model.eval()
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0
    tokens, gaps = [], []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.inference_mode():
        for prompt in prompts:
            made = model.generate(
                torch.tensor([prompt]), attention_mask=torch.ones((1, len(prompt)), dtype=torch.long),
                max_new_tokens=count, do_sample=False, output_logits=True, return_dict_in_generate=True,
            )  # fmt: skip
            best = torch.stack(made.logits, dim=1)[0].topk(2, dim=-1).values
            tokens.append(made.sequences[0, len(prompt) :].tolist())
            assert len(tokens[-1]) == count
            gaps.append((best[:, 0] - best[:, 1]).tolist())
    torch.set_num_threads(threads)
    return Reference(prompts, tokens, gaps)


def random_prompts(lengths: Sequence[int], seed: int = 3) -> list[list[int]]:
    """Returns prompts of these lengths for a model of `random_models`, whose first tokens are special ones."""
    random = torch.Generator().manual_seed(seed)
    return [torch.randint(16, 272, (length,), generator=random).tolist() for length in lengths]
